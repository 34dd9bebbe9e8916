// The plugin in an application that `fastify start` runs.
import { spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { utimes } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { EventSource } from 'eventsource'
import t, { type Test } from 'tap'
import { appFolder } from '../support/app-folder.js'
import { freePort } from '../support/programs.js'
import { programEnv } from '../support/spawn-program.js'
import { StreamClient } from '../support/stream-client.js'

const APP = `
import sse from 'fastify-sse-hub'
export default async function (app, options) {
  await app.register(sse, { retry: 20, reconnectSpread: 0 })
  app.get('/events', (request, reply) => { reply.sse() })
  app.get('/publish', () => app.sse.send('message', process.pid))
}
`

interface Started {
  readonly file: string
  readonly port: number
  /** Everything that the process has printed. */
  output: () => string
  /** Resolves when the process has printed this number of times that it listens. */
  listening: (times: number) => Promise<void>
  /** Asks the process to end, and resolves with its exit code. */
  stop: () => Promise<number | null>
}

/** Runs `fastify start` on an app with a hub, as a user does. When the test ends, its whole process group is killed. */
async function start (t: Test, ...args: string[]): Promise<Started> {
  const folder = await appFolder(t, { 'app.mjs': APP })
  const port = await freePort()
  const child = spawn(process.execPath, [fileURLToPath(import.meta.resolve('fastify-cli/cli.js')), 'start', '-l', 'info', '-a', '127.0.0.1', '-p', String(port), ...args, 'app.mjs'], {
    cwd: folder,
    env: programEnv(),
    stdio: ['ignore', 'pipe', 'pipe'],
    // It gets its own process group, because `--watch` does not end the process that it has started.
    detached: true
  })
  const closed = once(child, 'close')
  t.teardown(async () => {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {} // It has ended.
    await closed
  })
  let output = ''
  const printed = new EventEmitter()
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', text => {
      output += text
      printed.emit('text')
    })
  }
  return {
    file: `${folder}/app.mjs`,
    port,
    output: () => output,
    listening: async times => {
      while (output.split('Server listening at').length <= times) {
        await Promise.race([once(printed, 'text'), closed.then(() => { throw new Error(`it ended: ${output}`) })])
      }
    },
    stop: async () => {
      child.kill('SIGTERM')
      const [code] = await closed as [number | null]
      return code
    }
  }
}

async function publish (port: number): Promise<void> {
  await fetch(`http://127.0.0.1:${port}/publish`)
}

t.test('with fastify start --watch, a change restarts the app at once even if a stream is open, and its EventSource comes back', async t => {
  const cli = await start(t, '--watch')
  await cli.listening(1)
  const stream = new StreamClient({ port: cli.port }, '/events')
  t.teardown(() => stream.destroy())
  await stream.untilEvent('sse:open')
  const source = new EventSource(`http://127.0.0.1:${cli.port}/events`)
  t.teardown(() => source.close())
  await once(source as never, 'sse:open')
  const processes: string[] = []
  const received = new EventEmitter()
  source.addEventListener('message', ({ data }) => {
    processes.push(data)
    received.emit('message')
  })
  const first = once(received, 'message')
  await publish(cli.port)
  await first
  const reopened = once(source as never, 'sse:open')
  const now = new Date()
  // Nothing tells when the folder is watched, and a change before that has no effect.
  const again = setInterval(() => { utimes(cli.file, now, new Date()).catch(() => {}) }, 5000)
  t.teardown(() => clearInterval(again))
  await utimes(cli.file, now, now)
  await stream.untilClosed()
  clearInterval(again)
  t.ok(stream.whole, 'the stream has its end')
  await cli.listening(2)
  await reopened
  const second = once(received, 'message')
  await publish(cli.port)
  await second
  t.equal(processes.length, 2)
  t.not(processes[0], processes[1])
  t.notMatch(cli.output(), /forced end/)
})

t.test('fastify start ends by itself on a signal, within its own grace period, even if streams are open', async t => {
  const cli = await start(t)
  await cli.listening(1)
  const streams = [1, 2, 3].map(() => new StreamClient({ port: cli.port }, '/events'))
  await Promise.all(streams.map(stream => stream.untilEvent('sse:open')))
  t.equal(await cli.stop(), 0)
  await Promise.all(streams.map(stream => stream.untilClosed()))
  t.ok(streams.every(({ whole }) => whole))
  t.notMatch(cli.output(), /killed by timeout/)
})
