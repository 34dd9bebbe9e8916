// Tells the streams of one connection of its events. However many streams listen, the connection has one listener for each event:
// Node takes a listener out of a list of n in O(n), and thousands of pipelined requests may end together. It must not know of streams.
import type { Socket } from 'node:net'

type ConnectionEvent = 'close' | 'end'

interface Relay {
  readonly listeners: Set<() => void>
  readonly listener: () => void
}

const relays: Record<ConnectionEvent, WeakMap<Socket, Relay>> = { close: new WeakMap(), end: new WeakMap() }

export function listenTo (connection: Socket, event: ConnectionEvent, listener: () => void): void {
  let relay = relays[event].get(connection)
  if (relay === undefined) {
    const listeners = new Set<() => void>()
    relay = { listeners, listener: () => { for (const listener of listeners) listener() } }
    relays[event].set(connection, relay)
    connection.on(event, relay.listener)
  }
  relay.listeners.add(listener)
}

export function unlistenTo (connection: Socket, event: ConnectionEvent, listener: () => void): void {
  const relay = relays[event].get(connection)
  if (relay?.listeners.delete(listener) !== true || relay.listeners.size > 0) return
  relays[event].delete(connection)
  connection.off(event, relay.listener)
}
