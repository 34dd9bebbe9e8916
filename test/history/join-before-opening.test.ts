// Channels that a handler joins or leaves before the first bytes of its stream. That counts as if `reply.sse()` had named the
// channels so: the client gets what it missed in the channels that it is in, nothing of those that it left, and `recovered` is true
// only where nothing is missing.
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { Client } from '../../lib/client/client.js'
import type { SSEClient, SSEConnectOptions, SSEPluginOptions } from '../../lib/index.js'
import { buildApp, listen } from '../support/app.js'
import { AsyncBroker } from '../support/async-broker.js'
import { letPass } from '../support/passing-time.js'
import { idAt, PastBroker } from '../support/past-broker.js'
import { RawClient } from '../support/raw-client.js'

interface Streamed {
  readonly recovered: boolean
  /** The data of the events, without the hub's own. */
  readonly data: unknown[]
  readonly raw: RawClient
  readonly client: SSEClient
}

/** How a test opens a stream. `window` runs after `reply.sse()` and before the first bytes. */
type Open = (channels: readonly string[], window: (client: SSEClient) => unknown, options?: SSEConnectOptions) => Promise<Streamed>

/** With `late`, an async hook runs between the handler and the first bytes, so `window` may be async. */
async function setting (t: Test, options: SSEPluginOptions = {}, { late = false } = {}): Promise<{ app: FastifyInstance, open: Open }> {
  const app = await buildApp(t, options)
  let next: Parameters<Open>
  let client: SSEClient
  if (late) {
    app.addHook('onSend', async () => {
      // By then reply.sse() has returned.
      await setImmediate()
      await next[1](client)
    })
  }
  app.get('/', (_request, reply) => {
    client = reply.sse(next[0], next[2])
    if (!late) next[1](client)
  })
  const port = await listen(app)
  const open: Open = async (...args) => {
    next = args
    const raw = new RawClient(port)
    t.teardown(() => raw.destroy())
    await raw.until(() => raw.text.includes('event: sse:open') || (raw.head !== '' && raw.status !== 200))
    // All that is for the client comes before this.
    await client.send('mark', 0)
    await raw.until(() => raw.text.includes('event: mark'))
    const opened = raw.events.find(({ event }) => event === 'sse:open')!
    const events = raw.events.filter(({ event }) => !/^(?:sse:|mark)/.test(event ?? ''))
    return { recovered: (JSON.parse(opened.data) as { recovered: boolean }).recovered, data: events.map(({ data }) => JSON.parse(data) as unknown), raw, client }
  }
  return { app, open }
}

async function publish (app: FastifyInstance, channels: readonly string[], data: unknown): Promise<string> {
  return (await app.sse.toChannels(channels, 'n', data)).id
}

t.test('a client that comes back gets what it missed in a channel that the handler joins', async t => {
  const { app, open } = await setting(t)
  const lastEventId = await publish(app, ['news'], 'had')
  await publish(app, ['sports'], 'goal 1')
  await publish(app, ['news'], 'headline')
  await publish(app, ['sports'], 'goal 2')
  const { recovered, data, client } = await open(['news'], client => client.join('sports'), { lastEventId })
  t.strictSame(data, ['goal 1', 'headline', 'goal 2'])
  t.equal(recovered, true)
  t.strictSame([...client.channels], ['news', 'sports'])
})

t.test('it gets nothing of a channel that the handler leaves', async t => {
  const { app, open } = await setting(t)
  const lastEventId = await publish(app, ['news'], 'had')
  await publish(app, ['news'], 'headline')
  await publish(app, ['sports'], 'goal')
  await publish(app, ['news', 'sports'], 'both')
  const move = (client: SSEClient): void => {
    client.join('sports')
    client.leave('news')
  }
  const { recovered, data } = await open(['news'], move, { lastEventId })
  t.strictSame(data, ['goal', 'both'])
  t.equal(recovered, true)
  t.strictSame((await open(['news'], client => client.leave('news'), { lastEventId, replay: 'all' })).data, [])
})

t.test('recovered is false where an event of the joined channel is not kept any more', async t => {
  const { app, open } = await setting(t, { historySize: 2 })
  const lastEventId = await publish(app, ['news'], 'had')
  for (let number = 1; number <= 3; number++) await publish(app, ['sports'], number)
  t.match(await open(['news'], () => {}, { lastEventId }), { recovered: true, data: [] })
  t.match(await open(['news'], client => client.join('sports'), { lastEventId }), { recovered: false, data: [2, 3] })
})

t.test('with replay "none", recovered is false where the joined channel has an event that the client did not get', async t => {
  const { app, open } = await setting(t, { replay: 'none' })
  const lastEventId = await publish(app, ['news'], 'had')
  t.match(await open(['news'], client => client.join('sports'), { lastEventId }), { recovered: true, data: [] })
  await publish(app, ['sports'], 'goal')
  t.match(await open(['news'], client => client.join('sports'), { lastEventId }), { recovered: false, data: [] })
})

t.test('what is published between reply.sse() and the join comes once and in order', async t => {
  const { app, open } = await setting(t, {}, { late: true })
  const lastEventId = await publish(app, ['news'], 'had')
  await publish(app, ['sports'], 'missed')
  const { recovered, data } = await open(['news'], async client => {
    await publish(app, ['news'], 1)
    await publish(app, ['sports'], 2)
    await setImmediate()
    await publish(app, ['news', 'sports'], 3)
    client.join('sports')
    await publish(app, ['sports'], 4)
  }, { lastEventId })
  t.strictSame(data, ['missed', 1, 2, 3, 4])
  t.equal(recovered, true)
})

t.test('what waits for the client alone, and broadcasts, stay when it leaves and joins', async t => {
  const { app, open } = await setting(t, { replay: 'none' })
  const { data } = await open(['news'], client => {
    app.sse.toClient(client.id, 'n', 'its own')
    client.send('n', 'direct')
    app.sse.send('n', 'to all')
    publish(app, ['news'], 'left')
    publish(app, ['news', 'sports'], 'both')
    app.sse.toChannel('news', 'n', 'left and transient', { transient: true })
    client.join('sports')
    client.leave('news')
  })
  t.strictSame(data, ['its own', 'direct', 'to all', 'both'])
})

/** A client for which the hub looks for an event named "rare", among many others. */
async function lookingAt (t: Test, app: FastifyInstance, channels: readonly string[], lastEventId: string): Promise<{ raw: RawClient, client: SSEClient }> {
  app.get('/', (_request, reply) => { reply.sse(channels, { id: 'ada', events: ['rare', 'mark'], lastEventId }) })
  const raw = new RawClient(await listen(app))
  t.teardown(() => raw.destroy())
  while (app.sse.client('ada') === undefined) await setImmediate()
  return { raw, client: app.sse.client('ada')! }
}

t.test('a join while the hub still looks for the client\'s first event gives the joined channel from its beginning', async t => {
  const app = await buildApp(t, { historySize: 20_000 })
  const place = await publish(app, ['news'], 'had')
  await app.sse.toChannel('sports', 'rare', 'goal')
  for (let number = 0; number < 10_000; number++) await publish(app, ['news'], number)
  const { raw, client } = await lookingAt(t, app, ['news'], place)
  // The first look has passed the event, and the stream has not begun: none of the events was for the client.
  await setImmediate()
  t.equal((client as unknown as Client).begun, false)
  client.join('sports')
  await client.send('mark', 0)
  await raw.until(() => raw.text.includes('event: mark'))
  t.strictSame(raw.events.map(({ event, data }) => [event, data]).slice(1), [['rare', '"goal"'], ['mark', '0']])
  t.match(raw.events[0]!.data, '"recovered":true')
})

t.test('a join while the hub still looks tells what the joined channel had lost before the look', async t => {
  const app = await buildApp(t, { historySize: 6000 })
  const place = await publish(app, ['news'], 'had')
  await app.sse.toChannel('sports', 'rare', 'goal')
  for (let number = 0; number < 6000; number++) await app.sse.toChannels(['news', 'sports'], 'n', number)
  const { raw, client } = await lookingAt(t, app, ['news'], place)
  await setImmediate()
  t.equal((client as unknown as Client).begun, false)
  client.join('sports')
  await client.send('mark', 0)
  await raw.until(() => raw.text.includes('event: mark'))
  t.match(raw.events.map(({ event, data }) => [event, data]), [['sse:open', '"recovered":false'], ['mark', '0']])
})

t.test('what came live is not lost by a join, where history has dropped it and its channel has nothing older', async t => {
  const app = await buildApp(t, { historySize: 100 })
  const place = await publish(app, ['elsewhere'], 'had')
  const news = Array.from({ length: 90 }, (_, number) => `news-${number}`)
  for (let number = 0; number < 9000; number++) await publish(app, [news[number % news.length]!], number)
  const { raw, client } = await lookingAt(t, app, [...news, 'quiet'], place)
  // The first look has found out that "quiet" has nothing for the replay. The stream has not begun.
  t.equal((client as unknown as Client).begun, false)
  for (let number = 0; number <= 100; number++) app.sse.toChannel('quiet', 'rare', number)
  app.sse.toChannel('sports', 'rare', 'goal')
  client.join('sports')
  await client.send('mark', 0)
  await raw.until(() => raw.text.includes('event: mark'))
  const rare = raw.events.filter(({ event }) => event === 'rare').map(({ data }) => JSON.parse(data) as unknown)
  t.strictSame(rare, Array.from({ length: 101 }, (_, number) => number))
  t.match(raw.events[0]!.data, '"recovered":false', 'and the goal is told to be missing')
})

t.test('a join goes on where the broker can\'t tell its newest event', async t => {
  const broker = new AsyncBroker()
  const head = broker.head.bind(broker)
  const app = await buildApp(t, { broker })
  await publish(app, ['news'], 'kept')
  app.addHook('onSend', async () => {
    await setImmediate()
    await publish(app, ['sports'], 'goal')
    broker.head = () => { throw new Error('no head') }
    app.sse.client('ada')!.join('sports')
    broker.head = head
  })
  app.get('/', (_request, reply) => { reply.sse('news', { id: 'ada' }) })
  const raw = new RawClient(await listen(app))
  t.teardown(() => raw.destroy())
  await raw.untilEvents(3)
  t.strictSame(raw.events.slice(1).map(({ data }) => data), ['"kept"', '"goal"'])
  t.strictSame(app.sse.channelClients('sports').map(({ id }) => id), ['ada'])
})

t.test('a join has the whole time for the broker\'s answer, however late it is, and the channel\'s past comes', async t => {
  const broker = Object.assign(new PastBroker(), { answerTimeout: 5000 })
  broker.keep('sports', [900, 0])
  broker.before = () => broker.asked.at(-1)!.includes('sports') ? new Promise(resolve => setTimeout(resolve, 20)) : undefined
  const { open } = await setting(t, { broker }, { late: true })
  const { recovered, raw } = await open(['news'], async client => {
    // The past of "news" is known by then, and the stream was asked for long ago.
    for (let turn = 0; turn < 5; turn++) await setImmediate()
    letPass(10_000)
    client.join('sports')
  }, { lastEventId: idAt(800) })
  t.match(raw.events.map(({ event }) => event).slice(0, 2), ['sse:open', 'past-900'])
  t.equal(recovered, true)
})

t.test('a live event that history has dropped already is not lost by a join, and the joined channel\'s loss is told', async t => {
  const { app, open } = await setting(t, { historySize: 2 }, { late: true })
  const lastEventId = await publish(app, ['news'], 'had')
  const { recovered, data } = await open(['news'], async client => {
    for (let number = 1; number <= 4; number++) await publish(app, ['news'], number)
    await publish(app, ['sports'], 'goal')
    client.join('sports')
    await publish(app, ['sports'], 5)
  }, { lastEventId })
  t.strictSame(data, [1, 2, 3, 4, 5])
  t.equal(recovered, false)
})

t.test('where a join brings no event, the greeting has the newest id, also that of an event after reply.sse()', async t => {
  const { app, open } = await setting(t, { historySize: 2 }, { late: true })
  let newest = ''
  const { raw } = await open(['news'], async client => {
    // Nobody knows the names of the events that history has dropped. None of the others is for the client.
    for (let number = 1; number <= 4; number++) newest = await publish(app, ['sports'], number)
    client.join('sports')
  }, { events: ['mark'] })
  t.match(raw.events[0], { event: 'sse:open', id: newest })
})

t.test('a send() of the handler is settled, also where events before it are taken out of the line', async t => {
  const { app, open } = await setting(t)
  let sent: Promise<boolean>
  const { data } = await open(['news'], client => {
    publish(app, ['news'], 1)
    sent = client.send('n', 2)
    publish(app, ['news'], 3)
    client.leave('news')
  })
  t.strictSame(data, [2])
  t.equal(await sent!, true)
})

t.test('a channel that is joined after the first bytes is not replayed, and counts for this connection only', async t => {
  const { app, open } = await setting(t)
  await publish(app, ['sports'], 'before')
  const { raw, client } = await open(['news'], () => {})
  client.join('sports')
  await publish(app, ['sports'], 'after')
  await raw.until(() => raw.text.includes('after'))
  t.notMatch(raw.text, 'before')
})

t.test('any order of publishes, joins and leaves before the first bytes gives what the model says', async t => {
  const { app, open } = await setting(t, { historySize: 1000 }, { late: true })
  const channel = fc.constantFrom('a', 'b', 'c')
  const step = fc.oneof(
    fc.record({ do: fc.constant('publish' as const), channels: fc.uniqueArray(channel, { minLength: 1 }), transient: fc.boolean() }),
    fc.record({ do: fc.constant('send' as const) }),
    fc.record({ do: fc.constant('join' as const), channel }),
    fc.record({ do: fc.constant('leave' as const), channel })
  )
  const program = fc.record({
    missed: fc.array(fc.uniqueArray(channel, { minLength: 1 }), { maxLength: 6 }),
    channels: fc.uniqueArray(channel),
    window: fc.array(step, { maxLength: 12 }),
    replay: fc.constantFrom('missed' as const, 'all' as const),
    turns: fc.boolean()
  })
  let number = 0
  await fc.assert(fc.asyncProperty(program, async ({ missed, channels, window, replay, turns }) => {
    const lastEventId = await publish(app, ['elsewhere'], ++number)
    /** The events since the place, with their channels; transient ones only where the client was there and has stayed. */
    const kept: Array<{ number: number, channels: readonly string[] }> = []
    let transient: Array<{ number: number, channels: readonly string[] }> = []
    const own: number[] = []
    for (const targets of missed) {
      kept.push({ number: ++number, channels: targets })
      await publish(app, targets, number)
    }
    const present = new Set<string>(channels)
    const isPresent = (channel: string): boolean => present.has(channel)
    const { data, recovered } = await open(channels, async client => {
      for (const step of window) {
        if (turns) await setImmediate()
        if (step.do === 'join') {
          client.join(step.channel)
          present.add(step.channel)
        } else if (step.do === 'leave') {
          client.leave(step.channel)
          present.delete(step.channel)
          transient = transient.filter(event => event.channels.some(isPresent))
        } else if (step.do === 'send') {
          own.push(++number)
          client.send('n', number)
        } else {
          const event = { number: ++number, channels: step.channels }
          if (!step.transient) kept.push(event)
          else if (step.channels.some(isPresent)) transient.push(event)
          app.sse.toChannels(step.channels, 'n', number, { transient: step.transient })
        }
      }
    }, { lastEventId, replay, broadcast: false })
    const others = new Set([...transient.map(({ number }) => number), ...own])
    const expected = kept.filter(event => event.channels.some(isPresent)).map(({ number }) => number)
    const numbers = data as number[]
    const events = numbers.filter(number => !others.has(number))
    return recovered && String(events) === String(expected) && numbers.length === events.length + others.size
  }), { numRuns: 200, interruptAfterTimeLimit: 120_000, markInterruptAsFailure: true })
})
