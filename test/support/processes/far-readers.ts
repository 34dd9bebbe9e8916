// Readers on a host of their own, each with its own addresses. The process ends when its parent ends.
import { connect as connectHttp2 } from 'node:http2'
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { serve } from '../../bench/rpc.js'
import { requestText } from '../raw-client.js'

export interface FarReader {
  readonly reader: number
  readonly from: string
  readonly host: string
  readonly port: number
  readonly protocol: 'http' | 'https' | 'http2'
  readonly path: string
  /** How much it reads at a time, and then waits for a moment. Default: all, at once. */
  readonly slow?: number | undefined
}

const read = new Map<number, number>()

/** Counts what comes, and forgets it. */
function count (reader: number, stream: Duplex, slow = Infinity): void {
  read.set(reader, 0)
  stream.on('error', () => {})
  stream.on('data', (part: Buffer) => {
    read.set(reader, read.get(reader)! + part.length)
    if (slow === Infinity) return
    stream.pause()
    setTimeout(() => stream.resume(), part.length / slow)
  })
}

export const methods = {
  open ({ reader, from, host, port, protocol, path, slow }: FarReader): void {
    if (protocol === 'http2') {
      const session = connectHttp2(`http://${host}:${port}`, { createConnection: () => connect({ host, port, localAddress: from }) })
      session.on('error', () => {})
      count(reader, session.request({ ':path': path }), slow)
      return
    }
    const to = { host, port, localAddress: from }
    const socket = protocol === 'https' ? connectTls({ ...to, rejectUnauthorized: false }) : connect(to)
    socket.write(requestText({ path }))
    count(reader, socket, slow)
  },
  /** Bytes that a reader has read. */
  read: (reader: number): number => read.get(reader) ?? 0
}

export type FarReaders = typeof methods

serve(methods)
