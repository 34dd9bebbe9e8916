// Makes ids for clients whose route gives none, and tells them from a route's. It must not know of clients.
import { randomFillSync } from 'node:crypto'
import { MADE_HERE } from '../names.js'

const ID_BYTES = 16
// One call to the system makes many ids. A call for each would cost 10 µs, which is a twentieth of the cost of a new stream.
const pool = Buffer.allocUnsafeSlow(ID_BYTES * 128)
let used = pool.length

/** An id that nobody can guess: 128 random bits, as Base64url. */
export function randomId (): string {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  used += ID_BYTES
  return pool.toString('base64url', used - ID_BYTES, used)
}

/** An id for a client whose route gives none. */
export function randomClientId (): string {
  return MADE_HERE + randomId()
}

/** Whether a hub made this client id, on whichever instance. No client comes back with it. */
export function isRandomClientId (id: string): boolean {
  return id.startsWith(MADE_HERE)
}
