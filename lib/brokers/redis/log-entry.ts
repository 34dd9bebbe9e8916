// An entry of the log, as the script writes it. It must not know what was read before.
import type { BrokerEvent } from '../../../types/broker.js'
import { unpack } from './packing.js'

export interface LogEntry {
  readonly epoch: string
  /** The number of its first event. An entry without events has the number that comes next. */
  readonly first: number
  /** When it was stored, by Redis's clock. */
  readonly time: number
  readonly events: readonly BrokerEvent[]
  /** `''` if it is no publisher's batch. */
  readonly publisher: string
  readonly batch: number
  readonly presence: string | null
  /** Ids of events that were stored before, by their place in the publisher's batch. */
  readonly before: ReadonlyMap<number, string>
}

/** `null` if another program wrote it. */
export function parseEntry (fields: readonly Buffer[]): LogEntry | null {
  const values = new Map<string, Buffer>()
  for (let i = 0; i + 1 < fields.length; i += 2) values.set(fields[i]!.toString('latin1'), fields[i + 1]!)
  const epoch = values.get('e')?.toString('latin1')
  const first = Number(values.get('n'))
  const time = Number(values.get('t'))
  if (epoch === undefined || !Number.isSafeInteger(first) || first < 1 || !Number.isSafeInteger(time)) return null
  try {
    return {
      epoch,
      first,
      time,
      events: (JSON.parse(values.get('b')!.toString()) as unknown[]).map(unpack),
      publisher: values.get('p')?.toString('latin1') ?? '',
      batch: Number(values.get('s') ?? 0),
      presence: values.get('k')?.toString() ?? null,
      before: parseBefore(values.get('x'))
    }
  } catch {
    return null
  }
}

/** Example: `0:epochone.17.1767225600000,3:epochone.9.1767225500000` names events 0 and 3 of the batch. */
function parseBefore (value: Buffer | undefined): ReadonlyMap<number, string> {
  const before = new Map<number, string>()
  if (value === undefined) return before
  for (const part of value.toString('latin1').split(',')) {
    const at = part.indexOf(':')
    before.set(Number(part.slice(0, at)), part.slice(at + 1))
  }
  return before
}
