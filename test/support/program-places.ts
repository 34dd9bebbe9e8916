// Where the clients of random programs are: in channels, and in slots. A slot has one client after the other.
import fc from 'fast-check'

export const CHANNELS = ['red', 'green', 'blue'] as const
/** How many slots there are. A client that comes to a slot resumes where the client before it was. */
export const SLOTS = 4

export const channel = fc.constantFrom(...CHANNELS)
export const channels = fc.subarray([...CHANNELS])
export const slot = fc.nat(SLOTS - 1)
