// A server whose readers are on another host. The process ends when its parent ends.
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { readFile } from 'node:fs/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import sse, { type SSEPluginOptions, type SSEStats } from '../../../lib/index.js'
import { Process, serve } from '../../bench/rpc.js'
import { selfSigned } from '../certificate.js'
import { Hosts, SERVER, SERVER6, addressesOf } from '../hosts.js'
import type { FarReader, FarReaders } from './far-readers.js'

const apps = new Map<string, FastifyInstance>()
const gone = new Map<number, string>()
const far = new Process<FarReaders>(new URL('./far-readers.js', import.meta.url), [], null, [], ['unshare', '--net'])
function fail (error: unknown): never {
  throw error
}

const SMALL = 'x'.repeat(1000)
const LARGE = 'x'.repeat(20_000)
let hosts!: Hosts
let publishing: NodeJS.Timeout | undefined

async function makeApp (protocol: FarReader['protocol'], options: SSEPluginOptions): Promise<void> {
  const server = { http: {}, https: { https: selfSigned() }, http2: { http2: true } }[protocol]
  const app = Fastify({ ...server, forceCloseConnections: true } as object) as unknown as FastifyInstance
  apps.set(protocol, app)
  await app.register(sse, options)
  app.get<{ Params: { channel: string }, Querystring: { reader: string } }>('/:channel', (request, reply) => {
    reply.sse(request.params.channel, { id: request.query.reader })
  })
  app.sse.on('disconnect', ({ id }, reason) => gone.set(Number(id), reason))
  // On '::', IPv4 clients have mapped addresses, which other tables of the kernel have than those on '0.0.0.0'.
  await app.listen({ port: 0, host: protocol === 'http' ? '::' : '0.0.0.0' })
}

const methods = {
  async start (options: SSEPluginOptions): Promise<void> {
    hosts = await Hosts.connect(far.pid)
    for (const protocol of ['http', 'https', 'http2'] as const) await makeApp(protocol, options)
  },
  async open ({ protocol, channel, reader, v6 = false, slow }: { protocol: FarReader['protocol'], channel: string, reader: number, v6?: boolean, slow?: number }): Promise<void> {
    const app = apps.get(protocol)!
    const connected = once(app.sse as never, 'connect')
    const { port } = app.server.address() as AddressInfo
    await far.call.open({ reader, from: addressesOf(reader)[v6 ? 1 : 0], host: v6 ? SERVER6 : SERVER, port, protocol, path: `/${channel}?reader=${reader}`, slow })
    await connected
  },
  /** Publishes 20 events a second to each of two channels of all apps from now on: small events to one, large ones to the other. */
  publish (): void {
    publishing = setInterval(() => {
      for (const { sse: hub } of apps.values()) {
        hub.toChannel('busy', 'message', SMALL).catch(fail)
        hub.toChannel('large', 'message', LARGE).catch(fail)
      }
    }, 50)
  },
  vanish: ({ reader, how }: { reader: number, how?: 'blackhole' | 'unreachable' | 'unroutable' }): void => hosts.vanish(reader, how),
  comeBack: (reader: number): void => hosts.comeBack(reader),
  unlink: (): void => hosts.unlink(),
  /** Resolves when the kernel has sent bytes to an HTTP reader again, because nothing was answered. */
  async untilSentAgain (reader: number): Promise<void> {
    const address = `FFFF0000${Buffer.from(addressesOf(reader)[0].split('.').map(Number)).reverse().toString('hex').toUpperCase()}:`
    const isAsked = (row: string): boolean => row.includes(address) && Number(`0x${row.trim().split(/ +/)[6]}`) > 0
    while (!(await readFile('/proc/self/net/tcp6', 'latin1')).split('\n').some(isAsked)) await setTimeout(10)
  },
  /** Resolves with the reasons, in order, when all of these readers are gone. */
  async untilGone (readers: readonly number[]): Promise<string[]> {
    while (!readers.every(reader => gone.has(reader))) await setTimeout(10)
    return readers.map(reader => gone.get(reader)!)
  },
  /** All readers that are gone. */
  gone: (): number[] => [...gone.keys()],
  /** Resolves when a reader has read so many bytes more. */
  async untilRead ({ reader, bytes }: { reader: number, bytes: number }): Promise<void> {
    const before = await far.call.read(reader)
    while (await far.call.read(reader) < before + bytes) await setTimeout(10)
  },
  stats: (): SSEStats[] => Array.from(apps.values(), app => app.sse.stats()),
  /** Closes the apps. Resolves when no socket of theirs is left. */
  async close (): Promise<void> {
    clearInterval(publishing)
    await Promise.all(Array.from(apps.values(), app => app.close()))
    // Node closes HTTP/2 sessions a little later.
    while (process.getActiveResourcesInfo().some(kind => /^TCP|^FSReq/.test(kind))) await setTimeout(10)
  }
}

export type FarServer = typeof methods

serve(methods)
