// Unpacks gzip strictly, as far as it has come or to its end.
import { constants, gunzipSync } from 'node:zlib'

/** What a stream says so far; its end may be still to come. */
export function gunzipSoFar (bytes: Buffer): Buffer {
  return gunzipSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH })
}

/** What a stream says that must have ended; throws where its trailer is missing or wrong, or something is behind it. */
export function gunzipWhole (bytes: Buffer): Buffer {
  return gunzipSync(bytes)
}
