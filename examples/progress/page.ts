// Starts jobs, and follows the job that the page's URL names.
import { connect, type Stream } from 'fastify-sse-hub/client'
import { element, make } from '../element.js'
import type { events } from './server.js'

interface Job { id: string, folder: string, state: string }

const start = element('start', HTMLFormElement)
const bar = element('bar', HTMLProgressElement)
const figures = element('figures', HTMLParagraphElement)
const file = element('file', HTMLParagraphElement)
const end = element('end', HTMLParagraphElement)
const state = element('state', HTMLSpanElement)
const list = element('jobs', HTMLUListElement)

const number = new Intl.NumberFormat('en')
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`

let stream: Stream | undefined

function follow (id: string): void {
  stream?.close()
  element('job', HTMLElement).hidden = false
  for (const part of [figures, file, end]) part.textContent = ''
  bar.removeAttribute('value')
  const ended = (text: string): void => {
    // No events come after the end. An open stream would still take one of the browser's six connections to the server.
    stream?.close()
    state.textContent = state.dataset.state = 'ended'
    file.textContent = ''
    end.textContent = text
    showJobs()
  }
  stream = connect<typeof events>(`/progress/jobs/${id}/stream`, {
    on: {
      progress ({ files, filesDone, bytes, file: current }) {
        bar.value = filesDone / files
        figures.textContent = `${number.format(filesDone)} of ${number.format(files)} files, ${megabytes(bytes)}`
        file.textContent = current
      },
      complete ({ files, bytes, seconds, digest }) {
        bar.value = 1
        figures.textContent = `${number.format(files)} files, ${megabytes(bytes)}`
        ended(`Done in ${seconds.toFixed(1)} s. SHA-256 of all: ${digest.slice(0, 16)}…`)
      },
      failed ({ message }) {
        ended(message)
      }
    },
    onState (now) {
      state.textContent = now
      state.dataset.state = now
      if (now === 'refused') showJobs().catch(() => {})
    }
  })
}

async function showJobs (): Promise<void> {
  const jobs = await (await fetch('/progress/jobs')).json() as Job[]
  element('none', HTMLElement).hidden = jobs.length > 0
  list.replaceChildren(...jobs.reverse().map(({ id, folder, state }) => {
    const item = make('li', '', state === 'complete' ? 'success' : '')
    const link = make('a', id.slice(0, 8))
    link.href = `?job=${id}`
    item.append(link, ` ${folder}, ${state}`)
    return item
  }))
  // The server has been restarted and does not know the job any more.
  if (followed !== null && !jobs.some(({ id }) => id === followed)) {
    stream?.close()
    end.textContent = 'There is no such job any more.'
  }
}

start.addEventListener('submit', async event => {
  event.preventDefault()
  const response = await fetch('/progress/jobs', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(Object.fromEntries(new FormData(start)))
  })
  const { id } = await response.json() as Job
  history.replaceState(null, '', `?job=${id}`)
  followed = id
  follow(id)
  await showJobs()
})

let followed = new URLSearchParams(location.search).get('job')
if (followed !== null) follow(followed)
showJobs()
