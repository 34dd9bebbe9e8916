// Random programs with everything that may be written: a compressed stream has exactly the text of one without compression.
// fast-check makes a failing program smaller and prints it with its seed. SEED and RUNS in the environment choose others.
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import fc from 'fast-check'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import type { Client } from '../../lib/client/client.js'
import sse, { type SSEConnectOptions } from '../../lib/index.js'
import { nextClient } from '../support/app.js'
import { gunzipWhole } from '../support/gunzip.js'
import { parseEvents, RawClient } from '../support/raw-client.js'
import { Random } from '../support/random.js'
import { unixSocket } from '../support/unix-socket.js'

/** The client id of the pair. */
const PAIR = 'pair'
/** How many compressed clients there are besides the pair. They are enough for lists to be compressed as a whole. */
const CROWD = 9

const size = fc.oneof({ weight: 10, arbitrary: fc.integer({ min: 0, max: 600 }) }, { weight: 3, arbitrary: fc.integer({ min: 3000, max: 40_000 }) },
  { weight: 1, arbitrary: fc.constantFrom(65_400, 65_536, 150_000) })
/** The seed of a text that hardly gets smaller. With 0, the text is one letter again and again. */
const noise = fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: 1, max: 1000 }) })
const compress = fc.constantFrom(undefined, undefined, true, false)

const publish = fc.record({
  to: fc.oneof({ weight: 4, arbitrary: fc.subarray(['red', 'green', 'blue'], { minLength: 1 }) }, { weight: 1, arbitrary: fc.constantFrom('all' as const, 'pair' as const) }),
  size,
  noise,
  compress,
  transient: fc.boolean(),
  except: fc.oneof({ weight: 6, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.constant(PAIR) })
})

const command = fc.oneof(
  { weight: 8, arbitrary: fc.array(publish, { minLength: 1, maxLength: 4 }).map(events => ({ do: 'publish' as const, events })) },
  { weight: 3, arbitrary: fc.record({ size, noise, compress }).map(event => ({ do: 'send' as const, event })) },
  { weight: 2, arbitrary: fc.constant({ do: 'settle' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'beat' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'pause' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'resume' as const }) },
  { weight: 2, arbitrary: fc.record({ resumes: fc.boolean(), greeting: fc.boolean() }).map(how => ({ do: 'reopen' as const, ...how })) }
)

const program = fc.record({
  crowd: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constant(CROWD) }),
  drops: fc.oneof({ weight: 3, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  historySize: fc.constantFrom(0, 2, 1000),
  settings: fc.record({ threshold: fc.constantFrom(0, 256, 3000), level: fc.constantFrom(1, 6) }),
  commands: fc.array(command, { minLength: 2, maxLength: 15, size: 'max' })
})

type Program = typeof program extends fc.Arbitrary<infer Value> ? Value : never
type Command = Program['commands'][number]
type Publish = typeof publish extends fc.Arbitrary<infer Value> ? Value : never

interface Stream {
  readonly raw: RawClient
  readonly client: Client
}

class Run {
  readonly #program: Program
  readonly #socketPath: string
  readonly #app = Fastify({ forceCloseConnections: true }) as unknown as FastifyInstance
  readonly #options: SSEConnectOptions[] = []
  /** A stream with compression, and one without. */
  #pair: readonly Stream[] = []
  #paused = false
  /** The numbers of the events that the pair was sent. */
  #sent: number[] = []
  #number = 0

  constructor (program: Program, socketPath: string) {
    this.#program = program
    this.#socketPath = socketPath
  }

  async run (): Promise<void> {
    const { crowd: size, drops, historySize, settings, commands } = this.#program
    await this.#app.register(sse, {
      compress: settings, historySize, heartbeatInterval: 0, slowClient: drops ? 'drop' : 'disconnect', maxBufferedBytes: drops ? 50_000 : 2 ** 30
    })
    this.#app.get<{ Params: { n: number } }>('/:n', (request, reply) => { reply.sse(['red', 'green'], this.#options[request.params.n]) })
    await this.#app.listen({ path: this.#socketPath })
    const crowd: Stream[] = []
    try {
      for (let n = 0; n < size; n++) crowd.push(await this.#open({ greeting: false }, true))
      await this.#openPair({})
      for (const command of commands) await this.#do(command)
      await this.#endPair()
      const [first, ...others] = await Promise.all(crowd.map(stream => this.#end(stream)))
      for (const other of others) assert.ok(other === first, 'all of a crowd get the same')
    } finally {
      for (const { raw } of [...crowd, ...this.#pair]) raw.destroy()
      await this.#app.close()
    }
  }

  async #do (command: Command): Promise<unknown> {
    switch (command.do) {
      case 'publish': return Promise.all(command.events.map(event => this.#publish(event)))
      case 'send': return this.#send(command.event)
      case 'settle': return this.#settle()
      case 'beat': return this.#beat()
      case 'pause':
        this.#paused = true
        return this.#pair.forEach(({ raw }) => raw.pause())
      case 'resume': return this.#resume()
      case 'reopen': {
        const text = await this.#endPair()
        const lastEventId = command.resumes ? parseEvents(text).findLast(({ id }) => id !== undefined)?.id ?? null : null
        return this.#openPair({ greeting: command.greeting, lastEventId })
      }
    }
  }

  async #publish ({ to, size, noise, compress, transient, except }: Publish): Promise<unknown> {
    const data = this.#data(size, noise)
    if (except === undefined && (!Array.isArray(to) || to.join() !== 'blue')) this.#sent.push(data.n)
    const options = { transient, ...compress !== undefined && { compress }, ...except !== undefined && { except } }
    if (to === 'all') return this.#app.sse.send('n', data, options)
    if (to === 'pair') return this.#app.sse.toClient(PAIR, 'n', data, options)
    return this.#app.sse.toChannels(to, 'n', data, options)
  }

  /** Sends to both clients. Resolves with whether both sockets took the event, or with false if the pair is paused. */
  #send ({ size, noise, compress }: Pick<Publish, 'size' | 'noise' | 'compress'>): Promise<boolean> {
    const data = this.#data(size, noise)
    this.#sent.push(data.n)
    const taken = Promise.all(this.#pair.map(({ client }) => client.send('n', data, compress === undefined ? {} : { compress })))
    return this.#paused ? Promise.resolve(false) : taken.then(taken => taken.every(Boolean))
  }

  /** Resolves when everything that was queued is written. */
  async #settle (): Promise<void> {
    if (this.#paused) return
    while (!await this.#send({ size: 0, noise: 0, compress: undefined }));
  }

  async #beat (): Promise<void> {
    if (this.#paused) return
    await this.#settle()
    for (const { client } of this.#pair) {
      const { bytesWritten } = this.#app.sse.stats()
      // The hub's timer calls this.
      client.beat()
      // An event that is queued before the heartbeat is written would replace it, so this waits.
      while (this.#app.sse.stats().bytesWritten === bytesWritten) await new Promise(resolve => setImmediate(resolve))
    }
  }

  #resume (): void {
    this.#paused = false
    for (const { raw } of this.#pair) raw.resume()
  }

  async #openPair (options: SSEConnectOptions): Promise<void> {
    this.#sent = []
    const replay = this.#program.drops ? 'none' : 'all'
    this.#pair = [await this.#open({ ...options, replay, id: PAIR }, true), await this.#open({ ...options, replay, id: PAIR }, false)]
    // With a short history, events may be removed before a replay has reached them, at different places in the two.
    if (this.#program.historySize === 2) await this.#settle()
  }

  async #open (options: SSEConnectOptions, gzip: boolean): Promise<Stream> {
    const connected = nextClient(this.#app)
    const path = `/${this.#options.push(options) - 1}`
    const raw = new RawClient(connect(this.#socketPath), { path, headers: gzip ? { 'accept-encoding': 'gzip' } : {} })
    return { raw, client: await connected as unknown as Client }
  }

  /** Ends both streams, and resolves with their text. */
  async #endPair (): Promise<string> {
    const ended = Promise.all(this.#pair.map(stream => this.#end(stream)))
    this.#resume()
    const [compressed, plain] = await ended
    if (this.#program.drops) for (const text of [compressed!, plain!]) this.#checkDropped(text)
    else assert.ok(compressed === plain, `${JSON.stringify(compressed!.slice(0, 3000))} is not ${JSON.stringify(plain!.slice(0, 3000))}`)
    return plain!
  }

  async #end ({ raw, client }: Stream): Promise<string> {
    client.close()
    await raw.until(() => raw.complete)
    assert.equal(raw.status, 200)
    return (raw.header('content-encoding') === 'gzip' ? gunzipWhole(raw.body) : raw.body).toString()
  }

  /** The two clients may lose different events. The received events and those that the gaps count are together all events. */
  #checkDropped (text: string): void {
    let next = 0
    for (const { event, data } of parseEvents(text)) {
      if (event === 'sse:gap') next += JSON.parse(data).lost
      else if (event === 'n') assert.equal(JSON.parse(data).n, this.#sent[next++])
    }
    assert.equal(next, this.#sent.length)
  }

  #data (size: number, noise: number): { n: number, text: string } {
    const random = new Random(noise)
    const text = noise === 0 ? 'x'.repeat(size) : Array.from({ length: size / 5 }, () => random.below(36 ** 5).toString(36)).join('')
    return { n: ++this.#number, text }
  }
}

t.test('a compressed stream has the same text as one without compression, whatever is written in any order', async t => {
  const numRuns = Number(process.env.RUNS ?? 300)
  const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
  t.comment(`seed ${seed}, ${numRuns} programs`)
  const path = unixSocket(t)
  let runs = 0
  const result = await fc.check(fc.asyncProperty(program, program => new Run(program, `${path}-${++runs}`).run()),
    { seed, numRuns, includeErrorInReport: true, timeout: 20_000, interruptAfterTimeLimit: 240_000, markInterruptAsFailure: true })
  t.notOk(result.failed, fc.defaultReportMessage(result) ?? `${runs} programs`)
})
