// Gives the event loop its turns while the application awaits one publish after the other. It must not know what is published.
//
// A promise that is resolved already goes on in the same turn. So a loop of awaited publishes to an empty channel would hold all
// timers and sockets until it ends. There is one event loop for all hubs, so this state is not a hub's.

/** How long publishes may follow each other in one turn, in milliseconds. A slice of visits may take two more. */
const HOLD = 1

/** When the first publish of this turn came; `null` before it. */
let began: number | null = null
let next: Promise<void> | null = null
let resolveNext = (): void => {}

function passed (): void {
  began = next = null
  resolveNext()
}

/** @returns `null` while the turn is short; else it resolves when the event loop had a turn */
export function turnAfter (): Promise<void> | null {
  if (began === null) {
    began = performance.now()
    setImmediate(passed)
    return null
  }
  if (performance.now() - began < HOLD) return null
  next ??= new Promise(resolve => { resolveNext = resolve })
  return next
}
