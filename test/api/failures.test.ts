// Code of the application that throws, rejects or hangs inside the hub. Its caller gets the error, the log has a line, all other
// clients get everything, and the hub's counters are right afterwards. An uncaught error in the process fails the test, because
// tap reports it. See logging.test.ts for listeners of "connect" and "disconnect", and hooks.test.ts for onSend.
import { setImmediate } from 'node:timers/promises'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { FormatRegistry, Kind, Type, TypeRegistry, type TSchema } from '@sinclair/typebox'
import t, { type Test } from 'tap'
import type { SSEPluginOptions } from '../../lib/index.js'
import { buildApp } from '../support/app.js'
import { nextDisconnect, recordDisconnects } from '../support/disconnects.js'
import { ERROR, MemoryLog } from '../support/memory-log.js'
import { Onlookers } from '../support/onlookers.js'
import { opener, received, type Open } from '../support/open.js'

interface Setting {
  readonly app: FastifyInstance
  readonly log: MemoryLog
  readonly open: Open
  readonly onlookers: Onlookers
}

/** A hub with clients that must not be affected. */
async function setting (t: Test, options: SSEPluginOptions = {}, prepare: (app: FastifyInstance) => void = () => {}): Promise<Setting> {
  const log = new MemoryLog()
  const app = await buildApp(t, options, { loggerInstance: log.logger, forceCloseConnections: true })
  prepare(app)
  const open = await opener(t, app)
  return { app, log, open, onlookers: await Onlookers.open(app, open) }
}

const failing: Record<string, () => unknown> = {
  'throws at once': () => { throw new Error('it failed') },
  rejects: async () => { throw new Error('it failed') },
  'rejects later': async () => {
    await setImmediate()
    throw new Error('it failed')
  },
  hangs: () => new Promise(() => {})
}

for (const [how, fail] of Object.entries(failing)) {
  t.test(`a listener of "join" or "leave" that ${how} is logged, and does not stop the other listeners or the client`, async t => {
    const { app, log, open, onlookers } = await setting(t)
    const told: string[] = []
    for (const change of ['join', 'leave'] as const) {
      app.sse.on(change, fail)
      app.sse.on(change, (_who, channel) => told.push(`${change} ${channel}`))
    }
    const { client, raw } = await open(['a', 'b'])
    client.join('c')
    client.leave('a')
    await app.sse.toChannels(['b', 'c'], 'seen', 1)
    await raw.untilEvents(2)
    const gone = nextDisconnect(app)
    raw.destroy()
    await gone
    await setImmediate()
    t.same(told, ['join a', 'join b', 'join c', 'leave a', 'leave b', 'leave c'])
    await onlookers.check(t)
    const complaints = ['join', 'join', 'join', 'leave', 'leave', 'leave'].map(change => `a listener of "${change}" failed`)
    t.same(log.complaints.map(({ msg }) => msg), how === 'hangs' ? [] : complaints)
    t.ok(log.complaints.every(({ level, plugin, err }) => level === ERROR && plugin === 'fastify-sse-hub' && err?.message === 'it failed'))
  })

  if (how === 'throws at once') continue

  t.test(`a serializer that ${how} and returns no string refuses the event, and affects nothing else`, async t => {
    const { app, log, open, onlookers } = await setting(t, {
      serializer: (data, event) => event === 'asked' ? fail() as string : JSON.stringify(data)
    })
    const stream = await open('room')
    for (const call of [() => app.sse.toChannel('room', 'asked', 1), () => stream.client.send('asked', 1), () => stream.client.stream([1], { event: 'asked' })]) {
      await t.rejects(async () => { await call() }, { code: 'SSE_ERR_INVALID_DATA', message: /"asked"/ })
    }
    await setImmediate()
    await app.sse.toChannel('room', 'whole', 1)
    t.same((await received(stream)).map(({ event }) => event), ['whole'])
    stream.client.close()
    await stream.raw.until(() => stream.raw.complete)
    await onlookers.check(t)
    t.equal(log.complaints.length, 3)
    t.ok(log.complaints.every(({ level, err }) => level === ERROR && err?.code === 'SSE_ERR_INVALID_DATA'))
  })
}

t.test('a schema with a failing part', async t => {
  let answers = 0
  FormatRegistry.Set('throws', () => { throw new Error('no format') })
  // A regular expression with the flag "g" does this: it continues from its last match.
  FormatRegistry.Set('fickle', () => ++answers % 2 === 0)
  TypeRegistry.Set('Throwing', () => { throw new Error('no kind') })
  t.teardown(() => {
    for (const format of ['throws', 'fickle']) FormatRegistry.Delete(format)
    TypeRegistry.Delete('Throwing')
  })
  const kind = { [Kind]: 'Throwing' } as unknown as TSchema
  const { app, log, open, onlookers } = await setting(t, {
    events: {
      format: Type.Object({ text: Type.String({ format: 'throws' }) }),
      fickle: Type.Object({ text: Type.String({ format: 'fickle' }) }),
      kind: Type.Object({ text: kind }),
      union: Type.Union([Type.Object({ text: kind }), Type.Object({ text: Type.Number() })]),
      transform: Type.Transform(Type.String()).Decode(() => { throw new Error('no decoding') }).Encode(() => { throw new Error('no encoding') }),
      seen: Type.Number()
    }
  })
  // This hub accepts only events with a schema, and `received` ends with an event that has none.
  const stream = await open('room', { greeting: false })

  await t.test('refuses the event, with a code and the reason', async t => {
    for (const [event, reason] of [['format', /no format/], ['kind', /no kind/], ['union', /no kind/], ['fickle', /"fickle"/]] as const) {
      for (const call of [() => app.sse.toChannel('room', event, { text: 'x' }), () => stream.client.send(event, { text: 'x' })]) {
        answers = 0
        await t.rejects(async () => { await call() }, { code: 'SSE_ERR_INVALID_DATA', message: reason }, event)
      }
    }
    t.equal(log.complaints.length, 8)
    t.equal(app.sse.stats().published, 0)
  })

  await t.test('transforms nothing: the data is sent as it is', async t => {
    await app.sse.toChannel('room', 'transform', 'as it is')
    t.match(await stream.raw.untilEvents(1), [{ event: 'transform', data: '"as it is"' }])
  })

  await t.test('does not affect other clients', async t => {
    await onlookers.publish(t)
    for (const { raw } of onlookers.streams) t.match(await raw.untilEvents(2), [{}, { event: 'seen', data: '0' }])
    t.match(app.sse.stats(), { clients: 4, bufferedBytes: 0 })
  })
})

t.test('nothing is left of data whose serialisation fails in the middle', async t => {
  const { app, log, open, onlookers } = await setting(t, { maxEventBytes: 64 * 1024 * 1024, maxBufferedBytes: 64 * 1024 * 1024 })
  const stream = await open('room')
  /** A megabyte of data with a failing part in its middle. */
  const deep = (part: object): object[] =>
    Array.from({ length: 10_000 }, (_, n) => n === 5000 ? { list: [{ n, more: { part } }] } : { n, text: 'x'.repeat(100) })
  let reads = 0
  const bad: Array<[what: string, part: object]> = [
    ['a getter', { get value () { throw new Error('no value') } }],
    ['a toJSON', { toJSON () { throw new Error('no value') } }],
    // The text of data that may hold binary data is made twice.
    ['a getter that fails the second time', {
      empty: {},
      get value () {
        if (++reads % 2 === 0) throw new Error('no value')
        return 1
      }
    }]
  ]
  for (const [what, part] of bad) {
    for (const call of [() => app.sse.toChannel('room', 'half', deep(part)), () => stream.client.send('half', deep(part)), () => stream.client.stream([deep(part)], { event: 'half' })]) {
      await t.rejects(async () => { await call() }, { code: 'SSE_ERR_INVALID_DATA', message: /"half".*no value/ }, what)
    }
    await onlookers.publish(t)
  }
  t.match(app.sse.stats(), { published: 3, historyEvents: 3 })
  t.equal(log.complaints.length, 9)
  const inner: Array<Promise<{ id: string }>> = []
  const outer = await app.sse.toChannel('room', 'outer', deep({
    toJSON () {
      inner.push(app.sse.toChannel('room', 'inner', 1))
      return 'written'
    }
  }))
  t.same((await received(stream)).map(({ event, id }) => [event, id]), [['inner', (await inner[0])!.id], ['outer', outer.id]],
    'what is published from within comes first, whole')
  stream.client.close()
  await stream.raw.until(() => stream.raw.complete)
  await onlookers.check(t)
})

for (const [how, fail] of Object.entries(failing)) {
  t.test(`an onRequest hook that ${how} opens no stream`, async t => {
    const { app, open, onlookers } = await setting(t, {}, app => {
      app.addHook('onRequest', (request, _reply, done) => {
        if (request.headers['x-fail'] === undefined) return done()
        return fail() as undefined
      })
    })
    const { connections } = app.sse.stats()
    const failed = open('room', {}, { 'x-fail': '1' })
    if (how === 'hangs') await setImmediate()
    else t.equal((await failed).raw.status, 500)
    await onlookers.check(t)
    t.equal(app.sse.stats().connections, connections)
    // The request hangs until its connection is closed.
    if (how === 'hangs') await Promise.all([t.rejects(failed), app.close()])
  })

  for (const hook of ['onResponse', 'onRequestAbort'] as const) {
    t.test(`an ${hook} hook that ${how} changes nothing about a stream that is over`, async t => {
      let called = 0
      const { app, open, onlookers } = await setting(t, {}, app => {
        app.addHook(hook as 'onRequestAbort', async (request: FastifyRequest) => {
          if (request.headers['x-fail'] === undefined) return
          called++
          await fail()
        })
      })
      const disconnects = recordDisconnects(app)
      const ways = ['close', 'destroy'] as const
      for (const way of ways) {
        const { client, raw } = await open('room', {}, { 'x-fail': '1' })
        await raw.untilEvents(1)
        const gone = nextDisconnect(app)
        if (way === 'close') client.close()
        else raw.destroy()
        await gone
        if (way === 'close') await raw.until(() => raw.complete)
      }
      await onlookers.check(t)
      t.equal(called, 1)
      t.same(disconnects.map(({ reason }) => reason), ['server', 'client'])
      await app.close()
      t.match(app.sse.stats(), { clients: 0, channels: 0, bufferedBytes: 0 })
    })
  }
}
