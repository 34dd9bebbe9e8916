// An event of the history. A test gives only the fields that it is about.
import type { KeptEvent } from '../../lib/history/history.js'

export function keptEvent (position: number, text: string, given: Partial<KeptEvent> = {}): KeptEvent {
  return { position, name: 'n', except: '', compress: true, key: '', remove: false, raw: false, text, size: Buffer.byteLength(text), ...given }
}
