// Where the clients of random programs are: their channels, and the slots that they take one after the other.
import fc from 'fast-check'

export const CHANNELS = ['red', 'green', 'blue'] as const
/** Places for clients: who comes back to one goes on where the one before was. */
export const SLOTS = 4

export const channel = fc.constantFrom(...CHANNELS)
export const channels = fc.subarray([...CHANNELS])
export const slot = fc.nat(SLOTS - 1)
