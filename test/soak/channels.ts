// The channels of a run, and the sizes of their events. An event has its channel's name, and a number in that channel.

/** All clients get it, except those of the kind `quiet`. */
export const BROADCAST = 'all'
/** It gets bursts of large events, which soon are too much for a client that does not read. */
export const BULK = 'bulk'
export const SMALL: readonly string[] = Array.from({ length: 8 }, (_, index) => `c${index}`)

export function sizeOf (channel: string): number {
  return channel === BULK ? 10_000 : 200
}

/** The number of the newest event of each channel. */
export type Numbers = Readonly<Record<string, number>>
