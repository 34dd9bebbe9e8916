// The channels of a run, and how large their events are. An event has its channel's name, and is numbered within it.

/** What everybody gets. */
export const BROADCAST = 'all'
/** Of large events in bursts: who does not read it is soon full. */
export const BULK = 'bulk'
export const SMALL: readonly string[] = Array.from({ length: 8 }, (_, index) => `c${index}`)

export function sizeOf (channel: string): number {
  return channel === BULK ? 10_000 : 200
}

/** The number of the newest event of each channel. */
export type Numbers = Readonly<Record<string, number>>
