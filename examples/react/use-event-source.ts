// A React hook for an event stream that is the only source of what the component shows. It is open while the component is mounted.
import { useEffect, useRef, useState } from 'react'
import type { StreamOptions, StreamState } from 'fastify-sse-hub/client'
import { follow, type FollowOptions } from '../follow.js'

/**
 * The listeners may be new functions at each render. The stream is opened anew only when its URL changes. It then takes the
 * other options of that render.
 * @param url with `null`, no stream is open
 * @returns the state of the stream
 */
export function useEventSource<Events extends object> (url: string | null, options: Omit<FollowOptions<Events>, 'onState'>): StreamState {
  const [state, setState] = useState<StreamState>('closed')
  const latest = useRef(options)
  useEffect(() => { latest.current = options })

  useEffect(() => {
    if (url === null) return
    const names = Object.keys(latest.current.on ?? {}) as Array<keyof Events>
    const on = Object.fromEntries(names.map(name => [name, (...args: [never, never]) => latest.current.on?.[name]?.(...args)]))
    const stream = follow<Events>(url, {
      ...latest.current,
      on: on as NonNullable<StreamOptions<Events>['on']>,
      onStart: () => latest.current.onStart(),
      onOpen: opened => latest.current.onOpen?.(opened),
      onGap: gap => latest.current.onGap?.(gap),
      onState: now => setState(now)
    })
    return () => stream.close()
  }, [url])

  return state
}
