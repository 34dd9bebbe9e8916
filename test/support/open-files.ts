// How many connections a test may open. Each takes one open file of the process, and systems differ in how many they allow.
import { execFileSync } from 'node:child_process'
import type { Test } from 'tap'

/** Files that the process itself, its modules and the test's other connections take. */
const OTHERS = 200

/** The wanted number, or less if the process may not open that many files. Then the test says so. */
export function connectionsUpTo (t: Test, wanted: number): number {
  const limit = execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).trim()
  if (limit === 'unlimited' || Number(limit) >= wanted + OTHERS) return wanted
  const count = Number(limit) - OTHERS
  t.comment(`the process may open ${limit} files: ${count} connections in place of ${wanted}`)
  return count
}
