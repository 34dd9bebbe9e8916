// Ids for clients whose route gives none.
import { randomFillSync } from 'node:crypto'

const ID_BYTES = 16
// The system is asked once for many ids: a call costs 10 µs, a twentieth of what a new stream does.
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
