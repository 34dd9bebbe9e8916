// Where an app may listen in place of a port. The kernel takes 0.2 MB for a reader that pauses, where it is up to 4 MB
// with TCP on loopback: little needs to be sent to make a slow one.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** A path for a Unix socket, short enough for every system. */
export function unixSocket (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'sse-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'socket')
}
