// Follows a stream that is the only source of what a page shows.
import { connect, type Stream, type StreamOptions } from 'fastify-sse-hub/client'

export interface FollowOptions<Events extends object> extends StreamOptions<Events> {
  /** Called when a new stream opens. The hub sends all events that it has kept, so the list begins anew. */
  readonly onStart: () => void
}

export type FollowedStream = Pick<Stream, 'open' | 'close'>

/**
 * Like `connect()`. If events may be missing after a reconnect, it opens a new stream without an id: the old one gets only the
 * events after its last id.
 */
export function follow<Events extends object> (url: string, { onStart, ...options }: FollowOptions<Events>): FollowedStream {
  let stream: Stream

  function start (): void {
    let opened = false
    stream = connect<Events>(url, {
      ...options,
      onOpen (greeting) {
        if (opened && !greeting.recovered) {
          stream.close()
          start()
          return
        }
        if (!opened) onStart()
        opened = true
        options.onOpen?.(greeting)
      }
    })
  }

  start()
  return { open: () => stream.open(), close: () => stream.close() }
}
