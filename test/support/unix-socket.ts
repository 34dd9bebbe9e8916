// A socket on which an app may listen instead of a port. For a reader that pauses, the kernel buffers 0.2 MB. With TCP on loopback
// it buffers up to 4 MB. So a test needs to send only a little to make a slow reader.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** A path for a Unix socket. It is short enough for every system. */
export function unixSocket (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'sse-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'socket')
}
