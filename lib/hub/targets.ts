// The names of what an event can be sent to: a channel, all clients, or one client id. It must not know who is there.

/** The target of broadcasts. No channel can have this name. */
export const BROADCAST = ''
/** The first character of a client id's target. No channel name can contain it. */
const CLIENT_MARK = '\0'

/** The target of everything that is sent to a client id. */
export function clientTarget (id: string): string {
  return CLIENT_MARK + id
}

/** The client id that a target stands for; `null` where the target is of another kind. */
export function idOf (target: string): string | null {
  return target.startsWith(CLIENT_MARK) ? target.slice(CLIENT_MARK.length) : null
}
