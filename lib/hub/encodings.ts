// The encodings of a hub's streams: one for each set of compression settings. So all clients with the same settings share the
// compressed bytes. It must not know of clients.
import type { SSECompressOptions } from '../../types/index.js'
import { Compression, settingsKey } from '../wire/compression.js'
import { Plain, type Encoding } from '../wire/encoding.js'

export class Encodings {
  readonly #plain = new Plain()
  readonly #compressions = new Map<string, Compression>()

  /** @param settings `null` for no compression */
  of (settings: Required<SSECompressOptions> | null): Encoding {
    if (settings === null) return this.#plain
    const key = settingsKey(settings)
    let compression = this.#compressions.get(key)
    if (compression === undefined) this.#compressions.set(key, compression = new Compression(settings))
    return compression
  }
}
