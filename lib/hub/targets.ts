// Names the targets of events: a channel, all clients, or one client id. It must not know which clients there are.

import { isRandomClientId } from '../client/client-id.js'

/** The target of broadcasts. No channel can have this name. */
export const BROADCAST = ''
/** The first character of a client id's target. No channel name can contain it. */
const CLIENT_MARK = '\0'

/** The target of events for a client id. */
export function clientTarget (id: string): string {
  return CLIENT_MARK + id
}

/** The client id of a target. `null` for a channel and for broadcasts. */
export function idOf (target: string): string | null {
  return target.startsWith(CLIENT_MARK) ? target.slice(CLIENT_MARK.length) : null
}

/** The targets whose kept events are for a client: its channels, broadcasts, and its id, where it can come back with that. */
export function targetsOf ({ id, stable, broadcast }: { readonly id: string, readonly stable: boolean, readonly broadcast: boolean }, channels: readonly string[]): string[] {
  const targets = broadcast ? [BROADCAST, ...channels] : [...channels]
  if (stable) targets.push(clientTarget(id))
  return targets
}

/** The targets for which an event is kept: none where it is for a random client id, because no client comes back with that. */
export function keptOf (targets: readonly string[]): readonly string[] {
  // An event for a client id has no other target.
  const id = idOf(targets[0]!)
  return id !== null && isRandomClientId(id) ? [] : targets
}
