// Reads the answer to a POST while it comes.
import { EventSourceParserStream } from 'eventsource-parser/stream'
import type { Static } from '@sinclair/typebox'
import { element } from '../element.js'
import type { events } from './server.js'

const ask = element('ask', HTMLFormElement)
const send = element('send', HTMLButtonElement)
const stop = element('stop', HTMLButtonElement)
const answer = element('answer', HTMLParagraphElement)
const state = element('state', HTMLParagraphElement)

let reading = new AbortController()

ask.addEventListener('submit', async event => {
  event.preventDefault()
  reading = new AbortController()
  const { signal } = reading
  answer.textContent = ''
  state.textContent = ''
  setBusy(true)
  try {
    const response = await fetch('/tokens/answer', {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      body: JSON.stringify(Object.fromEntries(new FormData(ask))),
      signal
    })
    if (!response.ok) throw new Error(`The server answered ${response.status}`)
    const stream = response.body!.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())
    const reader = stream.getReader()
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      const { event: name, data } = next.value
      if (name === 'token') answer.append(JSON.parse(data) as Static<typeof events.token>)
      if (name === 'done') state.textContent = `${(JSON.parse(data) as Static<typeof events.done>).words} words.`
    }
  } catch (error) {
    state.textContent = signal.aborted ? await stopped() : (error as Error).message
  }
  setBusy(false)
})

stop.addEventListener('click', () => reading.abort())

function setBusy (busy: boolean): void {
  const focused = document.activeElement
  send.disabled = busy
  stop.disabled = !busy
  // A screen reader waits until the answer is complete, and then reads it aloud.
  answer.setAttribute('aria-busy', String(busy))
  // If the button with the focus is now disabled, the focus moves to the other button.
  if (focused === (busy ? send : stop)) (busy ? stop : send).focus()
}

/** Asks the server whether it has stopped. */
async function stopped (): Promise<string> {
  const { making, unfinished } = await (await fetch('/tokens/answers')).json() as { making: number, unfinished: number }
  return `Stopped. Answers that the server makes now: ${making}. Left unfinished so far: ${unfinished}.`
}
