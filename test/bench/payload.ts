// The events that are published. They are numbered from 1, have the time of publishing, and have a given size. The servers
// make them, the load client checks them.
import type { Payload } from './subjects/subject.js'

// {"n":"00000001","at":"000000123456789","pad":"xxx"}
export const NUMBER_AT = 6
export const NUMBER_DIGITS = 8
export const TIME_AT = 22
export const TIME_DIGITS = 15
const OVERHEAD = '{"n":"","at":"","pad":""}'.length + NUMBER_DIGITS + TIME_DIGITS

/** The size in bytes of the two kinds of `market` data: one trade, and a list of orders. */
export const TRADE = 100
export const ORDERS = 565
const ROWS = 6
const SYMBOLS = ['AAPL', 'ADBE', 'AMZN', 'CSCO', 'INTC', 'META', 'MSFT', 'NFLX', 'NVDA', 'ORCL', 'PYPL', 'TSLA']
const STATES = ['open', 'part', 'done']

/** What fills up an event's data: one letter again and again, or the data of a stock market. */
export type Content = 'letters' | 'market'

let pad = ''

/** @param size bytes of the serialised data */
export function payloadOf (number: number, size: number, content: Content = 'letters'): Payload {
  return {
    id: String(number),
    data: {
      n: String(number).padStart(NUMBER_DIGITS, '0'),
      at: String(now()).padStart(TIME_DIGITS, '0'),
      ...(content === 'letters' ? letters(size) : size === TRADE ? trade(number) : orders(number))
    }
  }
}

function letters (size: number): { pad: string } {
  if (pad.length !== size - OVERHEAD) pad = 'x'.repeat(size - OVERHEAD)
  return { pad }
}

/** The newest orders of one stock. Every event has different orders, but every run has the same. */
function orders (number: number): object {
  const next = dice(number)
  const symbol = SYMBOLS[next(SYMBOLS.length)]!
  const around = 10_000 + next(80_000)
  return {
    mic: 'XNAS',
    rows: Array.from({ length: ROWS }, (_, row) => ({
      id: 10_000 + (number * ROWS + row) % 90_000,
      symbol,
      side: next(2) === 0 ? 'bid' : 'ask',
      price: ((around + next(1000)) / 100).toFixed(2),
      qty: 100 * (1 + next(9)),
      state: STATES[next(STATES.length)]!
    }))
  }
}

function trade (number: number): object {
  const next = dice(number)
  return {
    symbol: SYMBOLS[next(SYMBOLS.length)]!,
    price: ((10_000 + next(90_000)) / 100).toFixed(2),
    quantity: 100 * (1 + next(9)),
    side: next(2) === 0 ? 'bid' : 'ask'
  }
}

/** Pseudo-random numbers below a bound. The same seed gives the same numbers. */
function dice (seed: number): (bound: number) => number {
  let state = seed
  return bound => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound
  }
}

/** Microseconds of a clock that all processes share. */
export function now (): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e6 + Math.floor(nanoseconds / 1000)
}

/** The channel of an event. With 3 channels, events 1, 2 and 3 are in `c1`, `c2` and `c0`. */
export function channelOf (number: number, channels: number): string {
  return channels === 1 ? 'all' : `c${number % channels}`
}
