// The events that are published: numbered from 1, stamped with the time, of a given size. The servers make them, the
// load client checks them.
import type { Payload } from './subjects/subject.js'

// {"n":"00000001","at":"000000123456789","pad":"xxx"}
export const NUMBER_AT = 6
export const NUMBER_DIGITS = 8
export const TIME_AT = 22
export const TIME_DIGITS = 15
const OVERHEAD = '{"n":"","at":"","pad":""}'.length + NUMBER_DIGITS + TIME_DIGITS

let pad = ''

/** @param size bytes of the serialised data */
export function payloadOf (number: number, size: number): Payload {
  if (pad.length !== size - OVERHEAD) pad = 'x'.repeat(size - OVERHEAD)
  return {
    id: String(number),
    data: {
      n: String(number).padStart(NUMBER_DIGITS, '0'),
      at: String(now()).padStart(TIME_DIGITS, '0'),
      pad
    }
  }
}

/** Microseconds, on a clock that all processes share. */
export function now (): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e6 + Math.floor(nanoseconds / 1000)
}

/** The channel of an event, out of so many. */
export function channelOf (number: number, channels: number): string {
  return channels === 1 ? 'all' : `c${number % channels}`
}
