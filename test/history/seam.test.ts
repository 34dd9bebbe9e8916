// Random programs against a simple model, at the seam between replayed and live events and over reconnects. What a connection
// gets is in order and has nothing twice, and the client is told of everything that is missing.
import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import sse, { type SSEClient, type SSEPluginOptions, type SSEReplay } from '../../lib/index.js'
import { Random } from '../support/random.js'
import { StreamClient } from '../support/stream-client.js'
import { unixSocket } from '../support/unix-socket.js'

const ROUNDS = 100
const PADDING = 'x'.repeat(100_000)
const CHANNELS = ['red', 'green', 'blue', 'black']
const NAMES = ['tick', 'tock']
const IDS = ['alice', 'bob']
const EVERYBODY = 'broadcasts'

interface Published {
  readonly targets: readonly string[]
  readonly name: string
  readonly except: string
  readonly transient: boolean
}

interface Connection {
  readonly stream: StreamClient
  readonly channels: readonly string[]
  readonly names: readonly string[] | null
  readonly broadcast: boolean
  readonly id: string | null
  readonly replay: SSEReplay
  /** The event up to which it claims to have everything: -1 for all before the first event, `null` without an id. */
  readonly has: number | null
  /** Whether it sent an id that is not from the hub. */
  readonly foreign: boolean
  client: SSEClient | null
  /** How many events had been published when it connected, and when it was closed. */
  from: number
  to: number
  /** Whether it must get everything up to `to`. */
  complete: boolean
}

interface Round {
  readonly published: Published[]
  readonly connections: Connection[]
  readonly historySize: number
  /** Whether the history has a limit of bytes as well. */
  readonly capped: boolean
  /** The number of each event, by its id. */
  readonly numbers: Map<string, number>
}

for (const slowClient of ['disconnect', 'drop'] as const) {
  t.test(`a client gets its events in order and once, and is told of all that are missing (slowClient: '${slowClient}')`, async t => {
    const random = new Random()
    const socketPath = unixSocket(t)
    const seen = { events: 0, replayed: 0, recovered: 0, gaps: 0, lostPlaces: 0, cut: 0 }
    for (let round = 0; round < ROUNDS; round++) {
      try {
        const played = await play(random, slowClient, socketPath)
        for (const connection of played.connections) verify(connection, played, seen)
      } catch (error) {
        t.comment(`SEED=${random.seed}, round ${round}`)
        throw error
      }
    }
    t.comment(JSON.stringify(seen))
    t.ok(seen.replayed > 0 && seen.recovered > 0 && seen.cut > 0, 'the program went where it should')
    if (slowClient === 'drop') t.ok(seen.gaps > 0, 'events were dropped')
  })
}

async function play (random: Random, slowClient: 'disconnect' | 'drop', socketPath: string): Promise<Round> {
  const historySize = random.pick([2, 5, 20, 10_000, 10_000])
  // With a limit of bytes, the model does not know which events are removed. It only knows that clients must be told.
  const capped = random.chance(0.2)
  const options: SSEPluginOptions = {
    historySize,
    ...capped ? { historyMaxBytes: 60_000 } : {},
    slowClient,
    heartbeatInterval: 0,
    reconnectSpread: 0,
    closeTimeout: 0,
    maxBufferedBytes: random.pick([20_000, 100_000, 1_000_000]),
    replay: random.pick(['all', 'all', 'missed'])
  }
  const app = Fastify() as unknown as FastifyInstance
  await app.register(sse, options)
  const round: Round = { published: [], connections: [], historySize, capped, numbers: new Map() }
  const { published, connections, numbers } = round
  const hookTurns = random.pick([0, 0, 2, 10])
  app.addHook('onSend', async () => {
    for (let turn = 0; turn < hookTurns; turn++) await setImmediate()
  })
  app.get<{ Params: { number: number } }>('/:number', (request, reply) => {
    const connection = connections[request.params.number]!
    connection.from = published.length
    connection.client = reply.sse(connection.channels, {
      broadcast: connection.broadcast,
      replay: connection.replay,
      ...connection.names === null ? {} : { events: connection.names },
      ...connection.id === null ? {} : { id: connection.id }
    })
  })
  await app.listen({ path: socketPath })

  // Large events fill the limit of a paused client.
  const sizes = random.pick([[10, 100], [100, 5000], [1000, 20_000, 90_000]])
  const steps = 40 + random.below(80)
  const publishing: Array<Promise<void>> = []

  const publish = (): void => {
    const index = published.length
    const name = random.pick(NAMES)
    const except = random.chance(0.1) ? random.pick(IDS) : ''
    const transient = random.chance(0.15)
    const data = `${index} ${PADDING.slice(0, random.below(random.pick(sizes)))}`
    const settings = { transient, raw: true, ...except === '' ? {} : { except } }
    let result: Promise<{ id: string | null }>
    let targets: string[]
    const way = random.below(10)
    if (way < 5) {
      targets = [random.pick(CHANNELS)]
      published.push({ targets, name, except, transient })
      result = app.sse.toChannel(targets[0]!, name, data, settings)
    } else if (way < 7) {
      targets = [random.pick(CHANNELS), ...random.some(CHANNELS)]
      published.push({ targets, name, except, transient })
      result = app.sse.toChannels(targets, name, data, settings)
    } else if (way < 9) {
      published.push({ targets: [EVERYBODY], name, except, transient })
      result = app.sse.send(name, data, settings)
    } else {
      const id = random.pick(IDS)
      published.push({ targets: [`client ${id}`], name, except, transient })
      result = app.sse.toClient(id, name, data, settings)
    }
    publishing.push(result.then(({ id }) => { if (id !== null) numbers.set(id, index) }))
  }

  const connect = (before?: Connection): void => {
    const lastEventId = before?.stream.lastEventId
    const foreign = lastEventId === undefined && random.chance(0.1)
    const connection: Connection = {
      stream: new StreamClient({ socketPath }, `/${connections.length}`,
        lastEventId !== undefined ? { 'last-event-id': lastEventId } : foreign ? { 'last-event-id': 'not-ours' } : {}),
      // A client that reconnects may have other channels or names.
      channels: before !== undefined && random.chance(0.8) ? before.channels : random.some(CHANNELS),
      names: before !== undefined && random.chance(0.8) ? before.names : random.chance(0.2) ? random.some(NAMES) : null,
      broadcast: before === undefined ? random.chance(0.8) : before.broadcast,
      id: before === undefined ? random.pick([null, ...IDS]) : before.id,
      replay: random.chance(0.15) ? 'none' : options.replay!,
      has: lastEventId === undefined ? null : placeOf(before!, lastEventId, numbers),
      foreign,
      client: null,
      from: NaN,
      to: NaN,
      complete: false
    }
    if (random.chance(0.2)) connection.stream.pause()
    connections.push(connection)
  }

  const left = new Set<Connection>()
  const open = (): Connection[] => connections.filter(connection => !left.has(connection) && !connection.stream.closed && connection.client?.closed !== true)

  const cut = (connection: Connection): void => {
    const way = random.below(3)
    if (way === 0) {
      left.add(connection)
      connection.stream.destroy()
    } else if (way === 1 && connection.client !== null) {
      connection.to = published.length
      connection.complete = true
      connection.client.close()
    } else {
      connection.stream.resume()
    }
  }

  for (let step = 0; step < steps; step++) {
    const way = random.next()
    const present = open()
    if (way < 0.55) {
      for (let count = 1 + random.below(random.pick([1, 6])); count > 0; count--) publish()
    } else if (way < 0.62) {
      if (present.length < 6) connect()
    } else if (way < 0.72) {
      const before = connections.filter(connection => !present.includes(connection))
      // What the client has is known when the ids of all its events are known.
      if (before.length > 0) {
        await Promise.all(publishing)
        connect(before.findLast(({ stream }) => stream.lastEventId !== undefined) ?? random.pick(before))
      }
    } else if (way < 0.8) {
      if (present.length > 0) cut(random.pick(present))
    } else if (way < 0.88) {
      const { stream } = present.length > 0 ? random.pick(present) : { stream: null }
      if (random.chance(0.5)) stream?.pause()
      else stream?.resume()
    } else {
      for (let turns = 1 + random.below(8); turns > 0; turns--) await setImmediate()
    }
  }

  await Promise.all(publishing)
  for (const { stream } of connections) stream.resume()
  // When no client has waiting bytes, the mark at the end can't be dropped.
  const settled = (): boolean => app.sse.stats().bufferedBytes === 0 &&
    connections.every(({ stream, client }) => stream.closed || (client !== null && stream.status !== undefined))
  while (!settled()) await setImmediate()
  for (const connection of connections) {
    const { client, stream } = connection
    if (client !== null && !client.closed && !left.has(connection)) {
      connection.to = published.length
      connection.complete = true
      client.send('end', null)
      await stream.untilEvent('end')
    } else {
      // If the server has closed the stream, some of its bytes may not have come.
      await stream.untilClosed()
    }
  }
  await app.close()
  return round
}

/** The event up to which a client has everything, by the last id that it got. */
function placeOf ({ stream, from }: Connection, lastEventId: string, numbers: ReadonlyMap<string, number>): number {
  return stream.greeting?.id === lastEventId ? from - 1 : numbers.get(lastEventId)!
}

function verify (connection: Connection, { published, historySize, capped }: Round, seen: Record<string, number>): void {
  const { stream, from, has, complete, replay } = connection
  const { greeting } = stream
  const targets = [
    ...connection.channels, ...connection.broadcast ? [EVERYBODY] : [], ...connection.id === null ? [] : [`client ${connection.id}`]
  ]
  const keptOf = (target: string): number[] => published.flatMap((event, index) => !event.transient && event.targets.includes(target) ? [index] : [])
  if (!complete) seen.cut!++
  // It was cut, or it was disconnected as too slow, before anything was written.
  if (greeting === undefined) {
    assert.deepEqual(stream.events, [])
    assert.ok(!complete || connection.client!.closed)
    return
  }

  const isFor = (event: Published): boolean => event.targets.some(target => targets.includes(target)) &&
    (connection.names === null || connection.names.includes(event.name)) &&
    (connection.id === null || event.except !== connection.id)
  /** The events of a range that the client must get. */
  const due = (begin: number, end: number, which: (event: Published, index: number) => boolean): number[] =>
    published.slice(begin, end).flatMap((event, index) => isFor(event) && which(event, begin + index) ? [begin + index] : [])
  /** For each target, the number of the oldest event that was kept to the end. */
  const oldest = new Map(targets.map(target => [target, keptOf(target).at(-historySize) ?? 0]))
  const surelyKept = (event: Published, index: number): boolean => !capped && !event.transient && event.targets.some(target => index >= (oldest.get(target) ?? Infinity))
  const trimmed = capped || targets.some(target => keptOf(target).length > historySize)

  // The events are in order, none comes twice, and all are for this client.
  const got: number[] = []
  /** How many events it was told are lost, or `NaN` for an unknown number. The key is how many events came before. */
  const gaps = new Map<number, number>()
  for (const { event, data } of stream.events) {
    if (event === 'sse:gap') {
      const { lost } = JSON.parse(data)
      gaps.set(got.length, (gaps.get(got.length) ?? 0) + (lost ?? NaN))
      if (lost === null) seen.lostPlaces!++
      else seen.gaps!++
    } else if (event !== 'sse:open' && event !== 'end') {
      const index = parseInt(data)
      assert.ok(index > (got.at(-1) ?? -1), `event ${index} after ${got.at(-1)}`)
      assert.ok(isFor(published[index]!), `event ${index} is for it`)
      assert.ok(index >= from || !published[index]!.transient, `transient event ${index} is not replayed`)
      got.push(index)
    }
  }
  seen.events! += got.length
  seen.replayed! += got.filter(index => index < from).length

  // What it is told about the past, and what it gets of it.
  const { recovered } = greeting
  const last = complete ? Infinity : got.at(-1) ?? -1
  const gotSet = new Set(got)
  const missing = (index: number): boolean => index <= last && !gotSet.has(index)
  const missed = due(has === null ? 0 : has + 1, from, event => !event.transient)
  const lostItsPlace = [...gaps.values()].some(Number.isNaN)
  if (has === null) assert.equal(recovered, false, 'nothing is recovered on a first visit')
  else if (!trimmed && (replay !== 'none')) assert.equal(recovered, true, 'what it missed was kept')
  if (recovered) seen.recovered!++
  const replays = replay === 'all' || (replay === 'missed' && (has !== null || connection.foreign))
  if (replays) {
    if (has !== null) assert.ok(got[0] === undefined || got[0] > has, 'nothing that it has is replayed')
    const must = recovered ? missed : due(has === null ? 0 : has + 1, from, surelyKept)
    if (!lostItsPlace) assert.deepEqual(must.filter(missing), [], 'what is kept of what it missed is replayed')
  } else {
    assert.deepEqual(got.filter(index => index < from), [], 'nothing is replayed')
    if (recovered) assert.deepEqual(missed, [], 'it had missed nothing')
  }

  // From its connection on it gets all events, except where it was told how many are missing.
  let at = got.findIndex(index => index >= from)
  if (at === -1) at = got.length
  let run = 0
  const closeRun = (place: number): void => {
    const told = gaps.get(place) ?? 0
    if (Number.isNaN(told) && place <= at) run = 0
    else if (place < got.length || complete) assert.equal(run, told, `${run} are missing before event ${got[place]}, and it was told ${told}`)
    run = 0
  }
  for (const index of due(from, complete ? connection.to : last + 1, () => true)) {
    if (got[at] === index) {
      closeRun(at)
      at++
    } else {
      run++
    }
  }
  closeRun(at)
  assert.equal(at, got.length, 'nothing came that is not due')
}
