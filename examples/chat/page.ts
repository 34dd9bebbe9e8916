// Enters a room, shows its messages, and cuts its own stream when the user asks for it.
import type { Static } from '@sinclair/typebox'
import { element, make } from '../element.js'
import { follow, type FollowedStream } from '../follow.js'
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

let stream: FollowedStream
let path = ''
let me = ''
let clientId = ''
/**
 * The ids of messages that are shown. The user's own messages come twice: from the answer to the POST, and from the next
 * stream. `except` leaves them out of the stream that was open when they were sent, but not of the history.
 */
const shown = new Set<string>()
/** How many missed messages have come since the stream opened again. It is not set at other times. */
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

  stream = follow<typeof events>(`${path}/stream?user=${encodeURIComponent(me)}`, {
    onStart () {
      // The server sends the messages that it has kept. A screen reader should not read all that.
      if (shown.size > 0) recovery.textContent = 'Something is lost. This is what the server has kept.'
      messages.ariaLive = 'off'
      messages.replaceChildren()
      shown.clear()
    },
    onOpen (opened) {
      clientId = opened.clientId
      if (opened.recovered) missed = 0
    },
    on: {
      message (message) {
        if (show(message) && missed !== undefined) missed++
      },
      presence ({ user, action, users: online }) {
        // The first one tells of this page's own arrival. It comes after all kept messages.
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

/** Returns `false` if the message is already shown. */
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
  // A fast user may have started to type the next message.
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
