// A dashboard of this process, and of the hub that sends its events.
import { get, type ClientRequest, type ServerResponse } from 'node:http'
import { get as getSecurely } from 'node:https'
import { availableParallelism, freemem, loadavg, totalmem } from 'node:os'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import sse from 'fastify-sse-hub'

export const events = {
  metrics: Type.Object({
    time: Type.Number({ description: 'seconds' }),
    cpu: Type.Object({ process: Type.Number(), load: Type.Number(), cores: Type.Integer() }),
    memory: Type.Object({ resident: Type.Number(), used: Type.Number(), available: Type.Number() }),
    requests: Type.Object({ perSecond: Type.Number(), total: Type.Integer(), failed: Type.Integer() }),
    hub: Type.Object({
      clients: Type.Integer(),
      deliveriesPerSecond: Type.Number(),
      bytesPerSecond: Type.Number(),
      bufferedBytes: Type.Integer(),
      slowDisconnects: Type.Integer()
    })
  }),
  tick: Type.Object({ n: Type.Integer() })
}

/** Milliseconds between two measurements. `KEPT` of them are kept, so a page that opens gets two minutes at once. */
const PERIOD = 1000
const KEPT = 120
const MORE_STREAMS = 500
const MOST_STREAMS = 2000
const TICKS_PER_SECOND = 10

const dashboard: FastifyPluginAsyncTypebox = async app => {
  await app.register(sse, { events, historySize: KEPT, heartbeatInterval: 10_000 })

  app.get('/stream', (_request, reply) => { reply.sse('metrics') })
  // The additional streams follow this channel, so that the hub has work to do.
  app.get('/ticks', (_request, reply) => { reply.sse('ticks') })

  // It counts the requests to the whole server. A hook here would see only the requests of this example.
  const requests = { total: 0, failed: 0 }
  app.server.on('request', (_request, response: ServerResponse) => {
    requests.total++
    response.once('finish', () => { if (response.statusCode >= 400) requests.failed++ })
  })

  let last = { at: performance.now(), cpu: process.cpuUsage(), requests: 0, stats: app.sse.stats() }

  function measure (): void {
    const now = { at: performance.now(), cpu: process.cpuUsage(), requests: requests.total, stats: app.sse.stats() }
    const seconds = (now.at - last.at) / 1000
    const { user, system } = process.cpuUsage(last.cpu)
    app.sse.toChannel('metrics', 'metrics', {
      time: Date.now() / 1000,
      cpu: { process: (user + system) / 1e6 / seconds, load: loadavg()[0]!, cores: availableParallelism() },
      memory: { resident: process.memoryUsage.rss(), used: totalmem() - freemem(), available: freemem() },
      requests: { ...requests, perSecond: (now.requests - last.requests) / seconds },
      hub: {
        clients: now.stats.clients,
        deliveriesPerSecond: (now.stats.delivered - last.stats.delivered) / seconds,
        bytesPerSecond: (now.stats.bytesWritten - last.stats.bytesWritten) / seconds,
        bufferedBytes: now.stats.bufferedBytes,
        slowDisconnects: now.stats.slowDisconnects
      }
    })
    last = now
  }

  let n = 0
  function tick (): void {
    if (app.sse.clientCount('ticks') > 0) app.sse.toChannel('ticks', 'tick', { n: ++n }, { transient: true })
  }

  // Streams from the server to itself, over real sockets.
  let opened: ClientRequest[] = []
  const closeAll = (): void => {
    for (const request of opened) request.destroy()
    opened = []
  }

  app.post('/streams', async () => {
    const url = `${app.listeningOrigin}${app.prefix}/ticks`
    const open = url.startsWith('https:') ? getSecurely : get
    for (let i = 0; i < MORE_STREAMS && opened.length < MOST_STREAMS; i++) {
      // The data is read and thrown away. The example's certificate is self-signed, and both ends are on this machine.
      const request = open(url, { agent: false, rejectUnauthorized: false }, response => response.resume())
      // A request that is destroyed before it is answered emits an error.
      request.on('error', error => app.log.debug(error, 'a stream of the dashboard ended'))
      opened.push(request)
    }
    return { streams: opened.length }
  })

  app.delete('/streams', async () => {
    closeAll()
    return { streams: 0 }
  })

  const timers: NodeJS.Timeout[] = []
  app.addHook('onListen', async () => {
    timers.push(setInterval(measure, PERIOD), setInterval(tick, 1000 / TICKS_PER_SECOND))
  })
  app.addHook('preClose', async () => {
    for (const timer of timers) clearInterval(timer)
    closeAll()
  })
}

export default dashboard
