// An event of history: only what a test is about is given.
import type { KeptEvent } from '../../lib/history/history.js'

export function keptEvent (position: number, text: string, given: Partial<KeptEvent> = {}): KeptEvent {
  return { position, name: 'n', except: '', compress: true, key: '', remove: false, raw: false, text, size: Buffer.byteLength(text), ...given }
}
