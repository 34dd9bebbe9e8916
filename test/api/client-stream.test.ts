// `client.stream()` sends the items of a source to one client, and `client.signal` tells the source when the client is gone.
import { EventEmitter, getEventListeners, once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import t from 'tap'
import type { SSEStreamSource } from '../../lib/index.js'
import { buildApp } from '../support/app.js'
import { MemoryLog } from '../support/memory-log.js'
import { opener, receivedNames, type OpenStream } from '../support/open.js'
import { unixHub } from '../support/unix-hub.js'

t.test('client.stream() sends one event per item of any source, and resolves to true when the source ends', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const sources = {
    'an async generator': (async function * () { yield * [1, { two: 2 }, 'three'] })(),
    'an array': [1, { two: 2 }, 'three'],
    'promises in an array': [Promise.resolve(1), { two: 2 }, Promise.resolve('three')],
    'a Readable of objects': Readable.from([1, { two: 2 }, 'three']),
    'a set': new Set([1, { two: 2 }, 'three'])
  }
  for (const [name, source] of Object.entries(sources)) {
    const { raw, client } = await open()
    t.equal(await client.stream(source, { event: 'item' }), true, name)
    await raw.untilEvents(4)
    t.match(raw.events.slice(1), [{ event: 'item', data: '1' }, { event: 'item', data: '{"two":2}' }, { event: 'item', data: '"three"' }], name)
    t.notOk(client.closed, 'the stream stays open')
  }
})

t.test('client.stream() sends the text of a Readable as it is with raw', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { raw, client } = await open()
  const text = new PassThrough({ encoding: 'utf8' })
  const streamed = client.stream(text, { event: 'token', raw: true })
  for (const token of ['Hel', 'lo, ', '"wörld"\n']) {
    text.write(token)
    await raw.until(() => raw.events.map(({ data }) => data).join('').endsWith(token))
  }
  text.end()
  t.equal(await streamed, true)
})

t.test('client.stream() does not pull ahead while the client does not read', async t => {
  const { open } = await unixHub(t)
  const { reader, client } = await open({ paused: true })
  const progress = new EventEmitter()
  let pulled = 0
  const source = async function * (): AsyncGenerator<object> {
    while (pulled < 100) {
      yield { n: pulled++, pad: 'x'.repeat(100_000) }
      progress.emit('pulled')
    }
  }
  const streamed = client.stream(source(), { event: 'item' })
  await once(progress, 'pulled')
  // Another client gets events all the time. They show that there was enough time.
  const other = await open()
  for (let n = 0; n < 50; n++) await other.client.send('message', n)
  t.ok(pulled < 20, `${pulled} pulled`)
  t.notOk(client.closed, 'it is never slow, however long the source is')
  reader.resume()
  t.equal(await streamed, true)
  await reader.until(() => reader.own.length === 100)
  t.same(reader.own.map(({ data }) => JSON.parse(data).n), Array.from({ length: 100 }, (_, n) => n))
})

t.test('when the client leaves, client.stream() resolves to false and its source stops', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { raw, client } = await open()
  const stopped = new EventEmitter()
  const stop = once(stopped, 'stopped')
  const source = async function * (): AsyncGenerator<number> {
    try {
      for (let n = 0; ; n++) yield n
    } finally {
      stopped.emit('stopped')
    }
  }
  const streamed = client.stream(source(), { event: 'item' })
  await raw.untilEvents(3)
  raw.destroy()
  t.equal(await streamed, false)
  await stop
})

t.test('when the client leaves while the source is silent, return() of the source is still called', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { raw, client } = await open()
  let returned = 0
  const source = {
    [Symbol.asyncIterator]: () => source,
    next: () => new Promise<never>(() => {}),
    return: async () => {
      returned++
      return { done: true as const, value: undefined }
    }
  }
  const streamed = client.stream(source, { event: 'item' })
  raw.destroy()
  t.equal(await streamed, false)
  t.equal(returned, 1)
})

t.test('when the client leaves while a generator waits, the generator ends with its next step', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { raw, client } = await open()
  const world = new EventEmitter()
  let steps = 0
  const source = async function * (): AsyncGenerator<number> {
    try {
      for (;;) {
        await once(world, 'news')
        yield steps++
      }
    } finally {
      world.emit('stopped')
    }
  }
  const streamed = client.stream(source(), { event: 'item' })
  raw.destroy()
  t.equal(await streamed, false)
  const stopped = once(world, 'stopped')
  world.emit('news')
  await stopped
  t.equal(steps, 1)
})

t.test('when the client leaves while a Readable is silent, it is destroyed', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  for (const begun of [false, true]) {
    const { raw, client } = await open()
    const source = new PassThrough({ objectMode: true })
    const streamed = client.stream(source, { event: 'item' })
    if (begun) {
      source.write('first')
      await raw.untilEvents(2)
    }
    raw.destroy()
    t.equal(await streamed, false)
    await new Promise(resolve => setImmediate(resolve))
    t.ok(source.destroyed, begun ? 'after an item' : 'before the first item')
  }
})

t.test('client.stream() on a disconnected client reads nothing from its source and resolves to false', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { client } = await open()
  client.close()
  let pulled = 0
  const source = async function * (): AsyncGenerator<number> { yield pulled++ }
  t.equal(await client.stream(source(), { event: 'item' }), false)
  t.equal(pulled, 0)
  const readable = Readable.from([1])
  t.equal(await client.stream(readable, { event: 'item' }), false)
  await new Promise(resolve => setImmediate(resolve))
  t.ok(readable.destroyed, 'a Readable is let go of')
})

t.test('client.stream() resolves to false when client.close() is called meanwhile', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { raw, client } = await open()
  const source = async function * (): AsyncGenerator<number> {
    yield 1
    client.close()
    yield 2
  }
  t.equal(await client.stream(source(), { event: 'item' }), false)
  await raw.until(() => raw.complete)
  t.same(raw.events.map(({ event }) => event), ['sse:open', 'item'])
})

t.test('client.stream() rejects with what the source throws, and the client stays connected', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open()
  const failure = new Error('the model is gone')
  const source = async function * (): AsyncGenerator<number> {
    yield 1
    throw failure
  }
  await t.rejects(stream.client.stream(source(), { event: 'item' }), failure)
  const readable = new Readable({ read () { this.destroy(failure) } })
  await t.rejects(stream.client.stream(readable, { event: 'item' }), failure)
  const throwing = { [Symbol.iterator]: () => ({ next: () => { throw failure } }) }
  await t.rejects(stream.client.stream(throwing, { event: 'item' }), failure)
  stream.client.stream(source(), { event: 'item' })
  await stream.raw.untilEvents(3)
  t.notOk(stream.client.closed, 'nor does a rejection that nobody awaits harm it')
  t.same(await receivedNames(stream), ['item', 'item'])
})

t.test('the return() of a source that has ended or failed is not called', async t => {
  const app = await buildApp(t)
  const { client } = await (await opener(t, app))()
  let returned = 0
  const source = (next: () => unknown): object => ({ [Symbol.asyncIterator]: () => ({ next, return: () => ++returned }) })
  t.equal(await client.stream(source(() => ({ done: true })) as never, { event: 'item' }), true)
  await t.rejects(client.stream(source(() => Promise.reject(new Error('it failed'))) as never, { event: 'item' }), /it failed/)
  t.equal(returned, 0)
})

t.test('client.stream() rejects an item that can\'t be sent, and ends the source', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { client } = await open()
  let ended = false
  const source = async function * (): AsyncGenerator<unknown> {
    try {
      yield 1
      yield 1n
      yield 2
    } finally {
      ended = true
    }
  }
  await t.rejects(client.stream(source(), { event: 'item' }), { code: 'SSE_ERR_INVALID_DATA' })
  t.ok(ended)
})

t.test('client.stream() rejects a value that is not a source, and unknown options', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { client } = await open()
  for (const source of [null, undefined, 1, {}, () => []]) {
    await t.rejects(client.stream(source as never, { event: 'item' }), { code: 'SSE_ERR_INVALID_OPTION' })
  }
  await t.rejects(client.stream([1], {} as { event: 'item' }), { code: 'SSE_ERR_INVALID_OPTION', message: /event/ })
  await t.rejects(client.stream([1], { event: 'item', raws: true } as { event: 'item' }), { code: 'SSE_ERR_INVALID_OPTION', message: /raws/ })
  await t.rejects(client.stream([1], { event: 'a\nb' }), { code: 'SSE_ERR_INVALID_EVENT_NAME' })
})

t.test('client.signal is made on first use and aborted when the client is disconnected', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { raw, client } = await open()
  const { signal } = client
  t.equal(client.signal, signal)
  t.notOk(signal.aborted)
  const aborted = once(signal, 'abort')
  raw.destroy()
  await aborted
  t.ok(client.closed)
  const { client: other } = await open()
  other.close()
  t.ok(other.signal.aborted, 'first asked for after it went')
})

t.test('client.signal is aborted before the listeners of "disconnect" run', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { client } = await open()
  const { signal } = client
  app.sse.on('disconnect', () => t.ok(signal.aborted))
  t.plan(1)
  client.close()
})

t.test('thousands of items leave no additional listeners, and the end of a stream leaves none at all', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const { client } = await open()
  let most = 0
  const source = function * (): Generator<number> {
    for (let n = 0; n < 2000; n++) {
      most = Math.max(most, getEventListeners(client.signal, 'abort').length)
      yield n
    }
  }
  t.equal(await client.stream(source(), { event: 'item' }), true)
  t.equal(most, 1)
  t.equal(getEventListeners(client.signal, 'abort').length, 0)
})

/** A stream of the web that gives one item and is then silent, and what it was told. */
function silentWebStream (): { source: ReadableStream<string>, cancelled: () => number } {
  let count = 0
  const source = new ReadableStream<string>({
    start: controller => controller.enqueue('one'),
    cancel: () => { count++ }
  })
  return { source, cancelled: () => count }
}

t.test('client.stream() sends a web stream to its end', async t => {
  const open = await opener(t, await buildApp(t))
  const { raw, client } = await open()
  for (const source of [ReadableStream.from(['a', 'b']), new Response('a').body!.pipeThrough(new TextDecoderStream())]) {
    t.equal(await client.stream(source, { event: 'item', raw: true }), true)
  }
  t.same((await raw.untilEvents(4)).map(({ data }) => data).slice(1), ['a', 'b', 'a'])
})

const webStreams: Record<string, (source: ReadableStream<string>) => SSEStreamSource<string>> = {
  'a web stream': source => source,
  'a web stream through others': source => source.pipeThrough(new TextEncoderStream() as never).pipeThrough(new TextDecoderStream()),
  'a web stream with an iterator of its own': source => Object.assign(source, { [Symbol.asyncIterator]: () => { throw new Error('it is not iterated') } }),
  'a web stream of a package': source => ({ getReader: () => source.getReader() }),
  'a Readable of a package': source => {
    const readable = Readable.fromWeb(source as never, { objectMode: true })
    const copy = { pipe: () => {}, destroy: () => readable.destroy(), [Symbol.asyncIterator]: () => readable[Symbol.asyncIterator]() }
    return copy
  }
}

for (const [name, make] of Object.entries(webStreams)) {
  for (const [end, leave] of Object.entries({
    'the client leaves': ({ raw }: OpenStream) => raw.destroy(),
    'client.close() is called': ({ client }: OpenStream) => client.close()
  })) {
    t.test(`when ${end} while ${name} is silent, it is cancelled at once`, async t => {
      const open = await opener(t, await buildApp(t))
      const opened = await open()
      const { source, cancelled } = silentWebStream()
      const streamed = opened.client.stream(make(source), { event: 'item', raw: true })
      await opened.raw.untilEvents(2)
      leave(opened)
      t.equal(await streamed, false)
      while (cancelled() === 0) await new Promise(resolve => setImmediate(resolve))
      t.equal(cancelled(), 1)
    })
  }
}

t.test('a web stream is cancelled when an item can\'t be sent, and when the client is gone already; what it throws is logged', async t => {
  const log = new MemoryLog()
  const app = await buildApp(t, {}, { loggerInstance: log.logger })
  const open = await opener(t, app)
  const { raw, client } = await open()
  let cancelled = 0
  const source = (): ReadableStream<number> => new ReadableStream({
    start: controller => controller.enqueue(1),
    cancel: () => {
      cancelled++
      throw new Error('can\'t be cancelled')
    }
  })
  await t.rejects(client.stream(source() as ReadableStream<any>, { event: 'item', raw: true }), { code: 'SSE_ERR_INVALID_DATA' })
  t.equal(cancelled, 1)
  raw.destroy()
  while (!client.closed) await new Promise(resolve => setImmediate(resolve))
  t.equal(await client.stream(source(), { event: 'item' }), false)
  t.equal(cancelled, 2)
  await log.line(({ err }) => err?.message === 'can\'t be cancelled')
  const failing = new ReadableStream({ pull: () => { throw new Error('the source failed') } })
  const other = await open()
  await t.rejects(other.client.stream(failing, { event: 'item' }), { message: 'the source failed' })
  const locked = new ReadableStream()
  locked.getReader()
  await t.rejects(other.client.stream(locked, { event: 'item' }), TypeError)
})
