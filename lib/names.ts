// Says which event names, channel names and client ids are accepted. It must not know what they are for.
import { SSE_ERR_INVALID_CHANNEL, SSE_ERR_INVALID_CLIENT_ID, SSE_ERR_INVALID_EVENT_NAME } from './errors.js'

const MAX_LENGTH = 256
/** CR and LF would end a line of the stream. NUL marks the hub's own targets. */
const FORBIDDEN = /[\0\r\n]/
/** Event names with this beginning belong to the hub. */
const RESERVED = 'sse:'
/** Client ids with this beginning are made by the hub. */
export const MADE_HERE = '~'

/** What is wrong with a name, as the end of a sentence, e.g. `must not be empty`. `''` where nothing is. */
export function flawOf (name: unknown): string {
  if (typeof name !== 'string') return `must be a string, and it is ${name === null ? 'null' : `of type ${typeof name}`}`
  if (name.length === 0) return 'must not be empty'
  if (name.length > MAX_LENGTH) return `must have at most ${MAX_LENGTH} characters, and it has ${name.length}`
  if (FORBIDDEN.test(name)) return 'must not contain CR, LF or NUL'
  // In UTF-8, and so at the client and in Redis, all lone surrogates are the same character: "\ud800" would be "\udc01".
  if (!name.isWellFormed()) return 'must be well formed, without lone surrogates'
  return ''
}

/** As `flawOf`, for the name of an event. */
export function flawOfEventName (name: unknown): string {
  return flawOf(name) || ((name as string).startsWith(RESERVED) ? `must not begin with "${RESERVED}": such names belong to the hub` : '')
}

/** @throws SSE_ERR_INVALID_EVENT_NAME */
export function checkEventName (name: unknown): asserts name is string {
  const flaw = flawOfEventName(name)
  if (flaw !== '') throw new SSE_ERR_INVALID_EVENT_NAME(`An event name ${flaw}`)
}

/** @throws SSE_ERR_INVALID_CHANNEL */
export function checkChannel (name: unknown): asserts name is string {
  const flaw = flawOf(name)
  if (flaw !== '') throw new SSE_ERR_INVALID_CHANNEL(`A channel name ${flaw}`)
}

/**
 * The channels without duplicates.
 * @throws SSE_ERR_INVALID_CHANNEL
 */
export function checkChannels (names: unknown): string[] {
  if (!Array.isArray(names)) {
    throw new SSE_ERR_INVALID_CHANNEL(`Channels must be given as an array of names, and this is ${names === null ? 'null' : `of type ${typeof names}`}`)
  }
  for (const name of names) checkChannel(name)
  return [...new Set<string>(names)]
}

/** @throws SSE_ERR_INVALID_CLIENT_ID */
export function checkClientId (id: unknown): asserts id is string {
  const flaw = flawOf(id)
  if (flaw !== '') throw new SSE_ERR_INVALID_CLIENT_ID(`A client id ${flaw}`)
}

/**
 * Checks an id that a route gives.
 * @throws SSE_ERR_INVALID_CLIENT_ID
 */
export function checkOwnClientId (id: unknown): asserts id is string {
  checkClientId(id)
  if (id.startsWith(MADE_HERE)) throw new SSE_ERR_INVALID_CLIENT_ID(`A client id must not begin with "${MADE_HERE}": such ids are made by the hub`)
}
