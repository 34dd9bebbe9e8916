// A few seconds of the soak and of the reconnect storm, which `npm run soak` makes long and large. These tests have only the
// checks that must hold on a slow machine as well.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { Outcome } from '../soak/report.js'
import { programEnv } from '../support/spawn-program.js'

async function run (t: Test, ...args: string[]): Promise<Outcome> {
  const file = join(t.testdir(), 'results.json')
  const child = spawn(process.execPath, [fileURLToPath(new URL('../soak/run.js', import.meta.url)), ...args, '--json', file], {
    env: programEnv(),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 110_000
  })
  t.teardown(() => child.kill())
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (part: string) => { output += part })
  const [code] = await once(child, 'close') as [number | null]
  if (code !== 0) t.comment(output)
  t.equal(code, 0)
  const { outcomes } = JSON.parse(await readFile(file, 'utf8')) as { outcomes: Outcome[] }
  const checks = outcomes.flatMap(({ checks }) => checks).filter(({ full }) => !full)
  t.same(checks.filter(({ ok }) => !ok), [])
  t.ok(checks.length >= 5)
  return outcomes[0]!
}

t.test('while clients come, leave, are slow, cut or dead, no event is lost, sent twice or miscounted, and nothing of them is left', async t => {
  const { samples } = await run(t, '--seconds', '8', '--rate', '40', '--storm', '0')
  t.equal(samples.length, 8)
})

t.test('when all clients are cut at once, all come back and get the events that were published meanwhile', async t => {
  const { samples } = await run(t, '--seconds', '0', '--storm', '300')
  t.match(samples, [{ recovered: 300 }, { recovered: 300 }])
})
