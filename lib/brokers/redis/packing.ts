// An event as it stands in the log and in the histories.
import type { BrokerEvent } from '../../../types/broker.js'

type Packed = [targets: readonly string[], name: string, data: string, kept?: readonly number[] | 0, retry?: number, except?: string, transient?: 1 | 0, stored?: 1]

/** JSON; what is as usual is left out at its end. */
export function pack ({ targets, name, data, kept, retry, except, transient, compress }: BrokerEvent): string {
  const packed: Packed = [targets, name, data]
  const all = kept.length === targets.length
  if (!all || retry !== -1 || except !== '' || transient || !compress) {
    packed.push(all ? 0 : kept.map(target => targets.indexOf(target)), retry, except)
    if (transient || !compress) packed.push(transient ? 1 : 0)
    if (!compress) packed.push(1)
  }
  return JSON.stringify(packed)
}

/** @throws where it is none */
export function unpack (packed: unknown): BrokerEvent {
  const [targets, name, data, kept = 0, retry = -1, except = '', transient, stored] = packed as Packed
  if (!Array.isArray(targets) || targets.length === 0 || typeof name !== 'string' || typeof data !== 'string') throw new TypeError('not an event')
  return { targets, name, data, retry, except, transient: transient === 1, compress: stored !== 1, kept: kept === 0 ? targets : kept.map(at => targets[at]!) }
}
