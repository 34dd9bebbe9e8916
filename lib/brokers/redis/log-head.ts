// The head of the log in Redis: which epoch is in force, and what its newest event is. It must not know what follows from that.
import type { RedisConnection } from './connection.js'
import type { Keys } from './keys.js'

export interface LogHead {
  /** `null` if there is none. */
  readonly epoch: string | null
  /** The number of the newest event. */
  readonly n: number
  /** The id of the newest entry that the broker wrote, and the milliseconds in it. */
  readonly id: string
  readonly time: number
  /** The id of the newest entry in the log, of other programs too; `null` if the log is empty or missing. */
  readonly newest: string | null
  /** Whether Redis has the targets' newest numbers in the epoch that was asked for. */
  readonly whole: boolean
}

export async function readLogHead (connection: RedisConnection, keys: Keys, epoch: string): Promise<LogHead> {
  const [[error, fields], [logError, entries], [lastError, whole]] = await connection.writer.pipeline()
    .hmget(keys.meta, 'e', 'n', 't', 'q')
    .xrevrange(keys.log, '+', '-', 'COUNT', 1)
    .exists(keys.last(epoch))
    .exec() as [[Error | null, Array<string | null>], [Error | null, Array<[string, string[]]>], [Error | null, number]]
  if (error !== null || logError !== null || lastError !== null) throw error ?? logError ?? lastError!
  const [now, n, time, sequence] = fields
  return { epoch: now ?? null, n: Number(n), id: `${time}-${sequence}`, time: Number(time), newest: entries[0]?.[0] ?? null, whole: whole === 1 }
}

/** Whether the first id comes after the second: `5-10` after `5-9`. */
export function isAfter (id: string, other: string): boolean {
  const [time, sequence] = id.split('-').map(Number) as [number, number]
  const [otherTime, otherSequence] = other.split('-').map(Number) as [number, number]
  return time > otherTime || (time === otherTime && sequence > otherSequence)
}
