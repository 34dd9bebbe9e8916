// An event as text, for the log and the histories. Where the text is kept is not known here.
import type { BrokerEvent } from '../../../types/broker.js'

type Packed = [targets: readonly string[], name: string, data: string, kept?: readonly number[] | 0, retry?: number, except?: string, flags?: number, key?: string]

const TRANSIENT = 1
const UNCOMPRESSED = 2
const REMOVE = 4
const RAW = 8

/**
 * A JSON array without the defaults at its end. An event that all targets keep and that has no options is
 * `[["news"],"created","{}"]`. With `retry: 500` it is `[["news"],"created","{}",0,500,""]`: 0 says that all targets keep it.
 */
export function pack ({ targets, name, data, kept, retry, except, transient, compress, key, remove, raw }: BrokerEvent): string {
  const packed: Packed = [targets, name, data]
  const all = kept.length === targets.length
  const flags = (transient ? TRANSIENT : 0) | (compress ? 0 : UNCOMPRESSED) | (remove ? REMOVE : 0) | (raw ? RAW : 0)
  if (!all || retry !== -1 || except !== '' || flags !== 0 || key !== '') {
    packed.push(all ? 0 : kept.map(target => targets.indexOf(target)), retry, except)
    if (flags !== 0 || key !== '') packed.push(flags)
    if (key !== '') packed.push(key)
  }
  return JSON.stringify(packed)
}

/** @throws TypeError if it is not an event */
export function unpack (packed: unknown): BrokerEvent {
  const [targets, name, data, kept = 0, retry = -1, except = '', flags = 0, key = ''] = packed as Packed
  if (!Array.isArray(targets) || targets.length === 0 || typeof name !== 'string' || typeof data !== 'string') throw new TypeError('not an event')
  const has = (flag: number): boolean => (flags & flag) !== 0
  return { targets, name, data, retry, except, key, transient: has(TRANSIENT), compress: !has(UNCOMPRESSED), remove: has(REMOVE), raw: has(RAW), kept: kept === 0 ? targets : kept.map(at => targets[at]!) }
}
