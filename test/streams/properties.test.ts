// Random programs with several clients and channels, and a model of what the hub promises. Many programs have listeners that do all
// that an application may do. If a program fails, fast-check makes it smaller, and prints it with its seed. SEED and RUNS in the
// environment choose the seed and the number of programs.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import t from 'tap'
import { program } from '../support/hub-program.js'
import { HubRun } from '../support/hub-run.js'
import { clients } from '../support/modelled-app.js'
import { unixSocket } from '../support/unix-socket.js'

/** Rejects if a program hangs. Then the program is made smaller, like any program that fails. */
async function inTime (running: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => { timer = setTimeout(() => reject(new Error('it hangs')), 20_000) })
  await Promise.race([running, late]).finally(() => clearTimeout(timer))
}

t.test('what clients see and listeners hear is what the contract promises, whatever happens', async t => {
  const numRuns = Number(process.env.RUNS ?? 2000)
  const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
  t.comment(`seed ${seed}, ${numRuns} programs`)
  const resources = (): string[] => process.getActiveResourcesInfo().filter(name => !/^(?:TTY|Pipe|FS|Close)/.test(name)).sort()
  const before = resources()
  const path = unixSocket(t)
  let commands = 0
  const result = await fc.check(fc.asyncProperty(program, async program => {
    commands += program.commands.length
    await inTime(new HubRun(program, path).run())
  }), { seed, numRuns, includeErrorInReport: true })
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? `${commands} commands`)
  await new Promise(resolve => setTimeout(resolve, 0))
  t.same(resources(), before, 'no timer and no socket is left')

  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  await new Promise(resolve => setTimeout(resolve, 0))
  gc()
  const left = clients.filter(client => client.deref() !== undefined).length
  t.ok(left < 20, `${left} of ${clients.length} clients are still in memory`)
})
