// A React hook for an event stream. The stream is open while the component is mounted.
import { useEffect, useRef, useState } from 'react'
import { connect, type StreamOptions, type StreamState } from 'fastify-sse-hub/client'

/**
 * The listeners may be new functions at each render. The stream is opened anew only when its URL changes. It then takes the
 * other options of that render.
 * @param url with `null`, no stream is open
 * @returns the state of the stream
 */
export function useEventSource<Events extends object> (url: string | null, options: Omit<StreamOptions<Events>, 'onState'>): StreamState {
  const [state, setState] = useState<StreamState>('closed')
  const latest = useRef(options)
  useEffect(() => { latest.current = options })

  useEffect(() => {
    if (url === null) return
    const names = Object.keys(latest.current.on ?? {}) as Array<keyof Events>
    const on = Object.fromEntries(names.map(name => [name, (...args: [never, never]) => latest.current.on?.[name]?.(...args)]))
    const stream = connect<Events>(url, {
      ...latest.current,
      on: on as NonNullable<StreamOptions<Events>['on']>,
      onOpen: opened => latest.current.onOpen?.(opened),
      onGap: gap => latest.current.onGap?.(gap),
      onState: now => setState(now)
    })
    return () => stream.close()
  }, [url])

  return state
}
