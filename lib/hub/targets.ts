// Names the targets of events: a channel, all clients, or one client id. It must not know which clients there are.

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
