// A React hook for an event stream: open while the component is mounted.
import { useEffect, useRef, useState } from 'react'
import type { TSchema } from '@sinclair/typebox'
import { connect, type StreamListeners, type StreamState } from '../connect.js'

/**
 * The listeners may be new functions at each render; the stream is opened anew only when its URL changes.
 * @param url `null` opens none
 * @returns what the stream is doing
 */
export function useEventSource<Events extends Record<string, TSchema>> (
  url: string | null, listeners: Omit<StreamListeners<Events>, 'onState'>
): StreamState {
  const [state, setState] = useState<StreamState>('closed')
  const latest = useRef(listeners)
  useEffect(() => { latest.current = listeners })

  useEffect(() => {
    if (url === null) return
    const names = Object.keys(latest.current.on) as Array<keyof Events>
    const on = Object.fromEntries(names.map(name => [name, (data: never) => latest.current.on[name]?.(data)])) as StreamListeners<Events>['on']
    const stream = connect<Events>(url, { on, onOpen: opened => latest.current.onOpen?.(opened), onState: setState })
    return () => stream.close()
  }, [url])

  return state
}
