// For the pages: an EventSource that does not give up. A browser reconnects by itself after a lost connection, with the
// last event's id; after any answer other than a stream, e.g. a 401, a 503 or a proxy's 502, it stops for good.
import type { Static, TSchema } from '@sinclair/typebox'

export type StreamState = 'connecting' | 'open' | 'reconnecting' | 'refused' | 'closed'

export interface StreamListeners<Events extends Record<string, TSchema>> {
  /** One listener per event, typed by the server's own schemas. */
  on: { [Name in keyof Events]?: (data: Static<Events[Name]>) => void }
  /**
   * The stream is open. `recovered` is false on a first visit, and where something in between is lost: what the page
   * shows is to be loaded anew.
   */
  onOpen?: (opened: { clientId: string, recovered: boolean }) => void
  onState?: (state: StreamState) => void
}

export interface Stream {
  /** Opens it again, after `close()`, behind the last event that came. */
  open (): void
  close (): void
}

/** After a refusal, in milliseconds: the first wait, doubled each time. */
const FIRST_WAIT = 5000
const LONGEST_WAIT = 60_000

export function connect<Events extends Record<string, TSchema>> (url: string, { on, onOpen, onState }: StreamListeners<Events>): Stream {
  let source: EventSource | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let wait = FIRST_WAIT
  let lastEventId = ''

  function open (): void {
    stop()
    onState?.('connecting')
    const target = new URL(url, location.href)
    // A new EventSource knows of no id and can't set the header, so that the id goes into the query here.
    if (lastEventId !== '') target.searchParams.set('lastEventId', lastEventId)
    const opened = source = new EventSource(target)

    const listen = (name: string, listener: (data: never) => void): void => {
      opened.addEventListener(name, ({ data, lastEventId: id }) => {
        if (id !== '') lastEventId = id
        listener(JSON.parse(data) as never)
      })
    }
    listen('sse:open', greeting => {
      wait = FIRST_WAIT
      onState?.('open')
      onOpen?.(greeting)
    })
    for (const [name, listener] of Object.entries(on)) listen(name, listener)

    opened.onerror = () => {
      if (opened.readyState === EventSource.CONNECTING) return onState?.('reconnecting')
      // A little of chance in it keeps the pages from all coming back at once. Before the listener, which may close.
      timer = setTimeout(open, wait * (1 + Math.random() / 4))
      wait = Math.min(wait * 2, LONGEST_WAIT)
      onState?.('refused')
    }
  }

  function stop (): void {
    clearTimeout(timer)
    source?.close()
  }

  function close (): void {
    stop()
    onState?.('closed')
  }

  open()
  return { open, close }
}
