// Decompresses gzip strictly, either the part that has come or the whole.
import { constants, gunzipSync } from 'node:zlib'

/** Decompresses a stream whose end may not have come. */
export function gunzipSoFar (bytes: Buffer): Buffer {
  return gunzipSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH })
}

/** Decompresses a stream that has ended. Throws if its trailer is missing or wrong, or if bytes follow. */
export function gunzipWhole (bytes: Buffer): Buffer {
  return gunzipSync(bytes)
}
