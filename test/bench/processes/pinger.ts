// Another user of the same server. It sends small requests at a steady rate and measures each from its sending.
import http from 'node:http'
import { createHistogram } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { now } from '../payload.js'
import { serve } from '../rpc.js'

/** The times are in milliseconds. */
export interface Pings {
  readonly p50: number
  readonly p99: number
  readonly max: number
  readonly count: number
}

const CONNECTIONS = 64
const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS })
const histogram = createHistogram({ lowest: 1, highest: 600_000_000, figures: 3 })
const stopping = new AbortController()
let running: Promise<void> | null = null

function ping (port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const sentAt = now()
    http.get({ port, host: '127.0.0.1', path: '/ping', agent }, response => {
      response.on('end', () => {
        if (response.statusCode !== 200) return reject(new Error(`answered with ${response.statusCode}`))
        histogram.record(Math.max(1, now() - sentAt))
        resolve()
      }).resume()
    }).on('error', reject)
  })
}

async function run (port: number, perSecond: number): Promise<void> {
  const pings: Promise<void>[] = []
  const startedAt = now()
  for (let count = 0; !stopping.signal.aborted; count++) {
    const due = startedAt + count * 1e6 / perSecond
    const wait = (due - now()) / 1000
    if (wait > 0) await setTimeout(wait)
    pings.push(ping(port))
  }
  await Promise.all(pings)
}

function figures (): Pings {
  return { p50: histogram.percentile(50) / 1000, p99: histogram.percentile(99) / 1000, max: histogram.max / 1000, count: histogram.count }
}

const methods = {
  /** Opens all connections that it may need. A new connection may have to wait until others are accepted. */
  async open (port: number): Promise<void> {
    await Promise.all(Array.from({ length: CONNECTIONS }, () => ping(port)))
    histogram.reset()
  },
  start ({ port, perSecond }: { port: number, perSecond: number }): void {
    running = run(port, perSecond)
    running.catch(() => {})
  },
  /** The results since the start, or since the last call. */
  take (): Pings {
    const pings = figures()
    histogram.reset()
    return pings
  },
  async stop (): Promise<Pings> {
    stopping.abort()
    await running
    return figures()
  }
}

export type PingerMethods = typeof methods

serve(methods)
