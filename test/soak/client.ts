// One client: its stream over all of its connections, and what must hold for its events.
import { connect as openSocket, type Socket } from 'node:net'
import { now, NUMBER_AT, NUMBER_DIGITS, TIME_AT, TIME_DIGITS } from '../bench/payload.js'
import { BROADCAST, type Numbers } from './channels.js'
import { EventStream } from './event-stream.js'

/**
 * What clients do: `reader` reads until it leaves. `resumer` is cut and comes back, again and again. `slow` stops reading for
 * some time, now and then. `quiet` gets nothing but heartbeats. `dead` vanishes. All clients of kind `storm` are cut at the
 * same time.
 */
export type Kind = 'reader' | 'resumer' | 'slow' | 'quiet' | 'dead' | 'storm'

/** What the client reports. */
export interface ClientHost {
  readonly port: number
  /** Something is wrong. */
  fault (text: string): void
  /**
   * The client is connected and has its greeting.
   * @param recovered as in the greeting, or `null` at a first visit
   */
  opened (client: Client, recovered: boolean | null, milliseconds: number): void
  /** The connection is closed. */
  closed (client: Client, how: Closing): void
  /** A new event has come. */
  event (client: Client, milliseconds: number): void
  /** Bytes of the event stream have come. */
  received (bytes: number): void
  /** Events are missing, and the client was told so. */
  lost (events: number): void
}

/** How a connection was closed: by the client itself (`own`), by the server's end of the stream, or by a cut. */
export type Closing = 'own' | 'ended' | 'cut'

// All sockets share one buffer: its bytes are read before the next socket's bytes come.
const shared = Buffer.allocUnsafeSlow(256 * 1024)
const DATA = 'data: '

export class Client {
  readonly kind: Kind
  /** They include that of broadcasts, if it gets them. */
  readonly channels: readonly string[]
  /** Its client id on the present connection. */
  id = ''
  connected = false
  readonly #host: ClientHost
  readonly #path: string
  /** The address from which it connects, if that matters. */
  readonly #address: string | null
  /** The newest number that it has seen in each channel. */
  readonly #seen = new Map<string, number>()
  /** Channels in which the client was told that events may be missing. */
  #mayMiss = new Set<string>()
  #lastEventId = ''
  #socket: Socket | null = null
  #connectsAt = 0
  #isOwn = false
  /** Whether its stream was ended, and not cut. */
  #ended = false
  /** What had been published when the server was asked to end the stream. */
  #end: Numbers | null = null

  constructor (host: ClientHost, kind: Kind, channels: readonly string[], address: string | null = null) {
    this.#host = host
    this.kind = kind
    this.channels = kind === 'quiet' ? channels : [...channels, BROADCAST]
    this.#path = `/events?kind=${kind}${channels.map(channel => `&c=${channel}`).join('')}`
    this.#address = address
  }

  connect (): void {
    const stream = new EventStream(block => this.#read(block))
    const socket = openSocket({
      port: this.#host.port,
      host: '127.0.0.1',
      noDelay: true,
      ...(this.#address !== null && { localAddress: this.#address }),
      onread: {
        buffer: shared,
        callback: length => {
          const { bytes } = stream
          try {
            stream.read(shared, length)
          } catch (error) {
            this.#fault((error as Error).message)
            socket.destroy()
          }
          this.#host.received(stream.bytes - bytes)
          if (stream.ended) socket.destroy()
          return true
        }
      }
    })
    let failure = 'the connection was closed'
    socket.on('error', error => { failure = error.message })
    socket.on('close', () => {
      this.#socket = null
      const opened = this.connected
      this.connected = false
      if (!opened && !this.#isOwn) this.#fault(`was not answered: ${failure}`)
      this.#ended = stream.ended
      if (this.#end !== null) this.#checkEnd(this.#end)
      this.#host.closed(this, this.#isOwn ? 'own' : stream.ended ? 'ended' : 'cut')
    })
    this.#socket = socket
    this.#isOwn = false
    this.#connectsAt = now()
    const resume = this.#lastEventId === '' ? '' : `last-event-id: ${this.#lastEventId}\r\n`
    socket.write(`GET ${this.#path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n${resume}\r\n`)
  }

  /** Whether it has no connection and is not connecting. */
  get away (): boolean {
    return this.#socket === null
  }

  pause (): void {
    this.#socket?.pause()
  }

  resume (): void {
    this.#socket?.resume()
  }

  /** Closes the connection from this side. */
  cut (how: 'destroy' | 'resetAndDestroy'): void {
    this.#isOwn = true
    this.#socket?.[how]()
  }

  /** The server has ended the stream. All that was published until then must have come before the end. */
  endsAt (numbers: Numbers): void {
    if (this.#socket === null) this.#checkEnd(numbers)
    else this.#end = numbers
  }

  /** Whether it has everything that was published. */
  has (numbers: Numbers): boolean {
    return this.channels.every(channel => (this.#seen.get(channel) ?? 0) >= numbers[channel]!)
  }

  toString (): string {
    return `a ${this.kind} client (${this.id}, last event ${this.#lastEventId})`
  }

  #fault (text: string): void {
    this.#host.fault(`${String(this)}: ${text}`)
  }

  #checkEnd (end: Numbers): void {
    if (!this.#ended) return this.#fault('its stream was cut, and should have been ended')
    for (const [channel, number] of this.#seen) {
      if (number !== end[channel]) this.#fault(`its stream ended behind event ${number} of ${channel}, which had ${end[channel]}`)
    }
  }

  #read (block: string): void {
    let name = ''
    let data = ''
    for (let at = 0; at < block.length;) {
      const lineEnd = block.indexOf('\n', at)
      const end = lineEnd === -1 ? block.length : lineEnd
      if (block.startsWith('id: ', at)) this.#lastEventId = block.slice(at + 4, end)
      else if (block.startsWith('event: ', at)) name = block.slice(at + 7, end)
      else if (block.startsWith(DATA, at)) data = block.slice(at + DATA.length, end)
      at = end + 1
    }
    if (name === '') return
    if (name === 'sse:open') this.#open(JSON.parse(data) as { clientId: string, recovered: boolean })
    else if (name === 'sse:gap') this.#fault(`was told of lost events: ${data}`)
    else this.#event(name, Number(data.slice(NUMBER_AT, NUMBER_AT + NUMBER_DIGITS)), Number(data.slice(TIME_AT, TIME_AT + TIME_DIGITS)))
  }

  #open ({ clientId, recovered }: { clientId: string, recovered: boolean }): void {
    const again = this.id !== ''
    this.id = clientId
    this.connected = true
    if (!again && recovered) this.#fault('was told that it has recovered, at its first visit')
    if (again) this.#mayMiss = new Set(recovered ? [] : this.channels)
    this.#host.opened(this, again ? recovered : null, (now() - this.#connectsAt) / 1000)
  }

  #event (channel: string, number: number, publishedAt: number): void {
    if (!this.channels.includes(channel)) return this.#fault(`was given event ${number} of ${channel}`)
    const last = this.#seen.get(channel)
    if (last !== undefined && number !== last + 1) {
      if (number <= last || !this.#mayMiss.has(channel)) this.#fault(`was given event ${number} of ${channel} behind ${last}`)
      else this.#host.lost(number - last - 1)
    }
    this.#mayMiss.delete(channel)
    this.#seen.set(channel, number)
    this.#host.event(this, (now() - publishedAt) / 1000)
  }
}
