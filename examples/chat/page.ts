// Enters a room, shows what is said there, and cuts its own stream on demand.
import type { Static } from '@sinclair/typebox'
import { connect, type Stream } from 'fastify-sse-hub/client'
import { element, make } from '../element.js'
import type { events } from './server.js'

const enter = element('enter', HTMLFormElement)
const say = element('say', HTMLFormElement)
const text = say.elements.namedItem('text') as HTMLInputElement
const messages = element('messages', HTMLOListElement)
const users = element('users', HTMLUListElement)
const state = element('state', HTMLSpanElement)
const cut = element('cut', HTMLButtonElement)
const recovery = element('recovery', HTMLParagraphElement)
const problem = element('problem', HTMLParagraphElement)

let stream: Stream
let path = ''
let me = ''
let clientId = ''
/**
 * By id, since a message of one's own comes twice: it is left out of the stream that was open when it was sent, and not
 * of the next one, which catches up.
 */
const shown = new Set<string>()
/** While a stream that opened again catches up: how many messages came that were missed. */
let missed: number | undefined

enter.addEventListener('submit', event => {
  event.preventDefault()
  const form = new FormData(enter)
  me = String(form.get('user'))
  const room = String(form.get('room'))
  path = `/chat/rooms/${encodeURIComponent(room)}`
  element('room', HTMLHeadingElement).textContent = room
  enter.hidden = true
  element('inside', HTMLDivElement).hidden = false
  text.focus()

  stream = connect<typeof events>(`${path}/stream?user=${encodeURIComponent(me)}`, {
    onOpen (opened) {
      clientId = opened.clientId
      if (opened.recovered) {
        missed = 0
        return
      }
      // A first visit, or something is missing: what the server has kept comes next. Nobody wants all of it read aloud.
      if (shown.size > 0) recovery.textContent = 'Something is lost. This is what the server has kept.'
      messages.ariaLive = 'off'
      messages.replaceChildren()
      shown.clear()
    },
    on: {
      message (message) {
        if (show(message) && missed !== undefined) missed++
      },
      presence ({ user, action, users: online }) {
        // The first one is one's own arrival, which comes behind all that was kept.
        if (missed !== undefined) recovery.textContent = `Back, and nothing was lost. Missed and delivered: ${missed}.`
        missed = undefined
        messages.ariaLive = 'polite'
        users.replaceChildren(...online.map(name => make('li', name)))
        append(make('li', `${user} ${action === 'join' ? 'is here' : 'left'}`, 'notice'))
      }
    },
    onState (now) {
      state.textContent = now
      state.dataset.state = now
    }
  })
})

/** Returns false if it is there already. */
function show ({ id, user, text, time }: Static<typeof events.message>): boolean {
  if (shown.has(id)) return false
  shown.add(id)
  const item = make('li', '', user === me ? 'own' : '')
  item.title = new Date(time).toLocaleTimeString()
  item.append(make('b', user), text)
  append(item)
  return true
}

function append (item: HTMLLIElement): void {
  messages.append(item)
  messages.scrollTop = messages.scrollHeight
}

say.addEventListener('submit', async event => {
  event.preventDefault()
  const said = text.value
  const response = await fetch(`${path}/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ clientId, text: said })
  }).catch(() => undefined)
  problem.textContent = response?.ok ? '' : response?.status === 409 ? 'Your stream is not open' : 'It was not sent'
  if (!response?.ok) return
  show(await response.json() as Static<typeof events.message>)
  // Who types fast has begun the next one.
  if (text.value === said) text.value = ''
})

let isCut = false

cut.addEventListener('click', () => {
  isCut = !isCut
  cut.textContent = isCut ? 'Restore the stream' : 'Cut the stream'
  recovery.textContent = ''
  if (isCut) stream.close()
  else stream.open()
})
