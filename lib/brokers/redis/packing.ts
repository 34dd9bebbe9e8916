// An event as it stands in the log and in the histories.
import type { BrokerEvent } from '../../../types/broker.js'

type Packed = [targets: readonly string[], name: string, data: string, kept?: readonly number[] | 0, retry?: number, except?: string, flags?: number, key?: string]

const TRANSIENT = 1
const STORED = 2
const REMOVE = 4
const RAW = 8

/** JSON; what is as usual is left out at its end. */
export function pack ({ targets, name, data, kept, retry, except, transient, compress, key, remove, raw }: BrokerEvent): string {
  const packed: Packed = [targets, name, data]
  const all = kept.length === targets.length
  const flags = (transient ? TRANSIENT : 0) | (compress ? 0 : STORED) | (remove ? REMOVE : 0) | (raw ? RAW : 0)
  if (!all || retry !== -1 || except !== '' || flags !== 0 || key !== '') {
    packed.push(all ? 0 : kept.map(target => targets.indexOf(target)), retry, except)
    if (flags !== 0 || key !== '') packed.push(flags)
    if (key !== '') packed.push(key)
  }
  return JSON.stringify(packed)
}

/** @throws where it is none */
export function unpack (packed: unknown): BrokerEvent {
  const [targets, name, data, kept = 0, retry = -1, except = '', flags = 0, key = ''] = packed as Packed
  if (!Array.isArray(targets) || targets.length === 0 || typeof name !== 'string' || typeof data !== 'string') throw new TypeError('not an event')
  const has = (flag: number): boolean => (flags & flag) !== 0
  return { targets, name, data, retry, except, key, transient: has(TRANSIENT), compress: !has(STORED), remove: has(REMOVE), raw: has(RAW), kept: kept === 0 ? targets : kept.map(at => targets[at]!) }
}
