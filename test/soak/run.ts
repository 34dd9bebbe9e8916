// The command: runs a soak and a reconnect storm, shows the results, and says whether all checks hold.
//   npm run soak -- [--minutes N | --seconds N] [--rate N] [--storm CLIENTS] [--json FILE]
import { writeFile } from 'node:fs/promises'
import { cpus, release } from 'node:os'
import { parseArgs } from 'node:util'
import { Random } from '../support/random.js'
import { isOwn, runInOwn } from './network.js'
import { show, type Outcome } from './report.js'
import { soak } from './soak.js'
import { storm } from './storm.js'

/** Memory and times are judged in runs of at least this many seconds. Before, the memory still fills for the first time. */
const FULL = 300

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seconds: { type: 'string' },
    rate: { type: 'string', default: '200' },
    storm: { type: 'string', default: '5000' },
    json: { type: 'string' }
  }
})
const seconds = options.seconds === undefined ? Number(options.minutes) * 60 : Number(options.seconds)
const isFull = seconds >= FULL
const rate = Number(options.rate)
const clients = Number(options.storm)
if (!(seconds === 0 || seconds >= 5) || !(rate > 0) || !(clients >= 0)) {
  console.error(`Usage: npm run soak -- [--minutes N | --seconds N] [--rate N] [--storm CLIENTS] [--json FILE]
  --minutes N      how long clients come and go, 10 unless given; from 5 on memory and times are judged
  --seconds N      the same in seconds, 5 or more; 0 for the storm alone
  --rate N         clients that come in a second, 200 unless given
  --storm CLIENTS  how many are cut at once afterwards, 5000 unless given; 0 for the soak alone`)
  process.exit(2)
}

function tell (text: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`)
}

async function run (): Promise<boolean> {
  const { seed } = new Random()
  const outcomes: Outcome[] = []
  if (seconds > 0) outcomes.push(await soak({ seconds, rate, seed }, tell))
  if (clients > 0) outcomes.push(await storm({ clients, seed }, tell))
  const machine = `${cpus()[0]!.model.trim()}, ${cpus().length} cores, Linux ${release()}, Node ${process.version}, ${new Date().toISOString().slice(0, 10)}`
  console.log(`${outcomes.map(outcome => show(outcome, isFull)).join('\n\n')}\n\n${machine}`)
  if (options.json !== undefined) await writeFile(options.json, JSON.stringify({ machine, isFull, outcomes }) + '\n')
  const failed = outcomes.flatMap(({ checks }) => checks).filter(({ ok, full }) => !ok && (isFull || !full))
  for (const { name, found } of failed) console.error(`FAILED: ${name}: ${found}`)
  return failed.length === 0
}

const code = isOwn ? null : await runInOwn()
process.exit(code ?? (await run() ? 0 : 1))
