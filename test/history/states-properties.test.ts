// Random programs of publishes and of clients that read as they like. fast-check makes a failing program smaller and prints it
// with its seed. SEED and RUNS in the environment choose others.
import fc from 'fast-check'
import t from 'tap'
import { program, StateRun } from '../support/state-program.js'
import { unixSocket } from '../support/unix-socket.js'

/** A program that hangs fails as well, and is made smaller like any other. */
async function inTime (running: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => { timer = setTimeout(() => reject(new Error('it hangs')), 20_000) })
  await Promise.race([running, late]).finally(() => clearTimeout(timer))
}

t.test('in the end each client has the newest event of each key, and no key has gone back to an older event', async t => {
  const numRuns = Number(process.env.RUNS ?? 500)
  const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
  t.comment(`seed ${seed}, ${numRuns} programs`)
  const path = unixSocket(t)
  let commands = 0
  const result = await fc.check(fc.asyncProperty(program, async program => {
    commands += program.commands.length
    await inTime(new StateRun(program, path).run())
  }), { seed, numRuns, includeErrorInReport: true })
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? `${commands} commands`)
})
