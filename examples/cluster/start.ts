// Three instances of the chat, with a small round-robin proxy in front of them: `npm run example:cluster`. It uses the Redis
// at REDIS_URL, or starts one. If you kill an instance, the chat goes on and a new instance starts.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const INSTANCES = 3
/** Milliseconds from the end of an instance until it is started again. */
const RESTART_AFTER = 3000

let ending = false
const children = new Set<ChildProcess>()

function run (command: string, args: readonly string[], env: Record<string, string> = {}): ChildProcess {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] })
  children.add(child)
  child.once('close', () => children.delete(child))
  return child
}

/** Resolves with the first match in a child's output. */
async function printed (child: ChildProcess, pattern: RegExp): Promise<string> {
  let output = ''
  child.stdout!.setEncoding('utf8')
  for await (const part of child.stdout!) {
    output += part
    const found = pattern.exec(output)
    if (found !== null) {
      child.stdout!.resume()
      return found[0]
    }
  }
  throw new Error(`It ended: ${output}`)
}

// Redis.

const folder = await mkdtemp(join(tmpdir(), 'sse-cluster-'))

async function startRedis (): Promise<string> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  const redis = run('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', ''])
  redis.once('error', () => {
    console.error('There is no redis-server here. Install it, or say in REDIS_URL where one is.')
    process.exit(1)
  })
  await printed(redis, /Ready to accept connections/)
  return `redis://127.0.0.1:${port}`
}

const REDIS_URL = process.env.REDIS_URL || await startRedis()

// The instances.

/** Ports of the instances that listen. */
const ports: number[] = []

async function startInstance (): Promise<void> {
  const child = run(process.execPath, ['--import', 'tsx', fileURLToPath(new URL('instance.ts', import.meta.url))], { REDIS_URL, PORT: '0' })
  let port = 0
  child.once('exit', () => {
    if (port !== 0) ports.splice(ports.indexOf(port), 1)
    if (ending) return
    console.log(`instance ${child.pid} is gone`)
    // A process manager does this in production.
    setTimeout(() => startInstance().catch(console.error), RESTART_AFTER)
  })
  port = Number(new URL(await printed(child, /http:\S+/)).port)
  ports.push(port)
  console.log(`instance ${child.pid} listens on ${port}`)
}

await Promise.all(Array.from({ length: INSTANCES }, startInstance))

// The proxy: each connection goes to the next instance. A page's POST may reach another instance than its stream.

let next = 0
const proxy = createServer(socket => {
  const target = connect(ports[next++ % ports.length] ?? 0, '127.0.0.1')
  socket.pipe(target).pipe(socket)
  socket.on('error', () => {}).on('close', () => target.destroy())
  target.on('error', () => {}).on('close', () => socket.destroy())
})
proxy.listen(Number(process.env.PORT ?? 3000), '127.0.0.1')
await once(proxy, 'listening')
console.log(`\nOpen http://127.0.0.1:${(proxy.address() as AddressInfo).port}/chat in two windows, and kill any instance.\n`)

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, async () => {
    ending = true
    proxy.close()
    const ended = [...children].map(child => once(child, 'close'))
    for (const child of children) child.kill('SIGTERM')
    await Promise.all(ended)
    await rm(folder, { recursive: true })
    process.exit()
  })
}
