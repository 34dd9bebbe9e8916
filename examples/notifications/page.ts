// Signs in, follows the stream of the signed-in user, and sends notifications.
import type { Static } from '@sinclair/typebox'
import { element, make } from '../element.js'
import { follow, type FollowedStream } from '../follow.js'
import type { events } from './server.js'

const signIn = element('sign-in', HTMLFormElement)
const name = signIn.elements.namedItem('user') as HTMLInputElement
const signedIn = element('signed-in', HTMLDivElement)
const notify = element('notify', HTMLFormElement)
const to = notify.elements.namedItem('user') as HTMLInputElement
const state = element('state', HTMLSpanElement)
const list = element('list', HTMLOListElement)
const empty = element('empty', HTMLParagraphElement)
const toasts = element('toasts', HTMLDivElement)
const answer = element('answer', HTMLSpanElement)

const TOAST_STAYS = 6000

let stream: FollowedStream | undefined
/** The signed-in user. `null` if nobody is signed in. */
let me: string | null | undefined

/** @param since the server's time. Older notifications were there before this page, so they get no toast. */
function showUser (user: string, since: number): void {
  element('me', HTMLElement).textContent = user
  to.value = user
  stream = follow<typeof events>(`/notifications/users/${user}/stream`, {
    onStart () {
      list.replaceChildren()
      empty.hidden = false
    },
    on: {
      notification (notification) {
        show(notification)
        if (notification.time >= since) toast(notification)
      },
      'system-status' ({ load, memory, clients }) {
        element('load', HTMLElement).textContent = load.toFixed(2)
        element('memory', HTMLElement).textContent = `${Math.round(memory * 100)} %`
        element('clients', HTMLElement).textContent = String(clients)
      }
    },
    onState (now) {
      state.textContent = now
      state.dataset.state = now
      // The user may be signed out. If the server has a problem, `connect` tries again by itself.
      if (now === 'refused') start().catch(() => {})
    }
  })
}

function show ({ type, from, message, time }: Static<typeof events.notification>): void {
  const item = make('li', '', type)
  const when = make('time', new Date(time).toLocaleTimeString())
  when.dateTime = new Date(time).toISOString()
  item.append(when, make('b', `${from}: `), message)
  list.prepend(item)
  empty.hidden = true
}

function toast ({ type, from, message }: Static<typeof events.notification>): void {
  const shown = make('div', `${from}: ${message}`, `toast ${type}`)
  toasts.append(shown)
  setTimeout(() => shown.remove(), TOAST_STAYS)
}

async function call (method: string, path: string, body?: unknown): Promise<Response> {
  return fetch(`/notifications${path}`, {
    method,
    ...body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  })
}

/** Shows the form to sign in, or follows the stream of the signed-in user. */
async function start (): Promise<void> {
  const { user, time } = await (await call('GET', '/session')).json() as { user: string | null, time: number }
  // Another user may have signed in in another tab.
  if (user === me) return
  me = user
  stream?.close()
  signIn.hidden = user !== null
  signedIn.hidden = user === null
  if (user !== null) showUser(user, time)
}

signIn.addEventListener('submit', async event => {
  event.preventDefault()
  await call('POST', '/session', Object.fromEntries(new FormData(signIn)))
  await start()
  to.focus()
})

element('sign-out', HTMLButtonElement).addEventListener('click', async () => {
  await call('DELETE', '/session')
  await start()
  name.focus()
})

notify.addEventListener('submit', async event => {
  event.preventDefault()
  const { user, ...body } = Object.fromEntries(new FormData(notify))
  const response = await call('POST', `/users/${String(user)}`, body)
  const result = await response.json() as { recipients: number, message: string }
  answer.textContent = response.ok
    ? `Sent to ${result.recipients} open ${result.recipients === 1 ? 'stream' : 'streams'}.`
    : result.message
})

start()
