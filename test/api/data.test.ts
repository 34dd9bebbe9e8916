// How data is serialised: JSON, binary data, and the application's own serializer.
import t, { type Test } from 'tap'
import { SSE_ERR_INVALID_DATA, type SSEPluginOptions } from '../../lib/index.js'
import { buildApp } from '../support/app.js'
import { opener, received } from '../support/open.js'

/** Publishes each value, and resolves with the texts that arrive. */
async function texts (t: Test, data: readonly unknown[], options: SSEPluginOptions = {}): Promise<string[]> {
  const app = await buildApp(t, options)
  const open = await opener(t, app)
  const stream = await open()
  for (const one of data) await app.sse.send('x', one)
  return (await received(stream)).map(({ data }) => data)
}

t.test('data is JSON, and undefined is null', async t => {
  const data = [undefined, null, true, 0, -0, NaN, '', 'x', [], {}, [undefined, () => {}], { a: undefined, b: 1 }, 'ä', [[1, [2]]]]
  t.strictSame(await texts(t, data), [
    'null', 'null', 'true', '0', '0', 'null', '""', '"x"', '[]', '{}', '[null,null]', '{"b":1}', '"ä"', '[[1,[2]]]'
  ])
})

t.test('toJSON() decides how a value is serialised', async t => {
  const date = new Date(0)
  const money = { cents: 5, toJSON () { return { amount: this.cents / 100 } } }
  t.strictSame(await texts(t, [date, { date }, money, [money], { toJSON: (key: string) => key }, { key: { toJSON: (key: string) => key } }, { toJSON: () => null }]), [
    '"1970-01-01T00:00:00.000Z"', '{"date":"1970-01-01T00:00:00.000Z"}', '{"amount":0.05}', '[{"amount":0.05}]', '""', '{"key":"key"}', 'null'
  ])
})

t.test('binary data is Base64, at the top level and in nested values', async t => {
  const bytes = [0, 1, 2, 250, 255]
  const base64 = Buffer.from(bytes).toString('base64')
  const floats = new Float64Array([1.5, -2])
  const binary: Array<[data: unknown, expected: string]> = [
    [Buffer.from(bytes), base64],
    [Uint8Array.from(bytes), base64],
    [Uint8ClampedArray.from(bytes), base64],
    [new DataView(Uint8Array.from(bytes).buffer), base64],
    [floats, Buffer.from(floats.buffer).toString('base64')],
    [new Uint16Array([1, 2]), 'AQACAA=='],
    [new BigInt64Array([1n]), 'AQAAAAAAAAA='],
    [Buffer.alloc(0), ''],
    [new Uint8Array(0), ''],
    [new DataView(new ArrayBuffer(0)), ''],
    // Most small Buffers are a part of a larger memory. Only that part is data.
    [Uint8Array.from([9, ...bytes, 9]).subarray(1, 6), base64],
    [new DataView(Uint8Array.from([9, ...bytes, 9]).buffer, 1, 5), base64]
  ]
  const wrap = (value: unknown): unknown => ({ text: 'x', list: [1, value, { deep: value }], value })
  const seen = await texts(t, binary.flatMap(([data]) => [data, wrap(data)]))
  t.strictSame(seen.map(text => JSON.parse(text)), binary.flatMap(([, expected]) => [expected, wrap(expected)]))
})

t.test('binary data that toJSON() returns is Base64, too', async t => {
  t.strictSame(await texts(t, [{ toJSON: () => Buffer.from('ab') }, { in: { toJSON: () => Uint8Array.of(1) } }, { toJSON: () => ({ in: Buffer.from('ab') }) }]), [
    '"YWI="', '{"in":"AQ=="}', '{"in":"YWI="}'
  ])
})

t.test('values that only look like binary data stay as they are', async t => {
  const data = [
    {}, [{}], { 0: 1 }, [{ 0: 1, 1: 2 }], { type: 'Buffer' }, { type: 'Buffer', data: [1, 2] }, { nested: { type: 'Buffer', data: [] } },
    '{"0":1}', '"type":"Buffer"', '{}', { '{}': '{"0":' }, { mixed: { 0: 1, type: 'Buffer' }, empty: {} }, new Map([[1, 2]]), new Set([1])
  ]
  t.strictSame(await texts(t, data), data.map(one => JSON.stringify(one)))
})

t.test('binary data is Base64 next to values that only look like it', async t => {
  t.strictSame(await texts(t, [{ a: { 0: 1 }, b: Uint8Array.of(1), c: { type: 'Buffer', data: [1] }, d: Buffer.of(1), e: {}, f: new Uint8Array(0) }]), [
    '{"a":{"0":1},"b":"AQ==","c":{"type":"Buffer","data":[1]},"d":"AQ==","e":{},"f":""}'
  ])
})

/** Calls of `JSON.stringify` while a function runs. */
async function stringified (run: () => Promise<unknown>): Promise<Array<{ readonly replaced: boolean, readonly length: number }>> {
  const { stringify } = JSON
  const calls: Array<{ replaced: boolean, length: number }> = []
  JSON.stringify = ((...args: Parameters<typeof stringify>) => {
    const text = stringify(...args)
    calls.push({ replaced: args[1] != null, length: text.length })
    return text
  }) as typeof stringify
  try {
    await run()
  } finally {
    JSON.stringify = stringify
  }
  return calls
}

t.test('binary data costs no more than its Base64, wherever it is: its bytes are never written as numbers', async t => {
  const app = await buildApp(t)
  const bytes = Buffer.alloc(10_000, 255)
  const view = new Uint8Array(bytes)
  const length = bytes.toString('base64').length
  for (const data of [
    bytes, view, [view], { view }, { a: [{ b: { view } }] }, { toJSON: () => view }, { toJSON: () => ({ view }) }, { url: new URL('http://localhost'), view }
  ]) {
    const calls = await stringified(() => app.sse.send('x', data))
    t.equal(calls.length, 1)
    t.ok(calls[0]!.length < length + 50 && !calls[0]!.replaced, `${calls[0]!.length} characters`)
  }
})

t.test('data that only looks like binary data costs no more than other data', async t => {
  const app = await buildApp(t)
  for (const data of [{}, [{ options: {} }], { type: 'Buffer' }, { 0: 1 }, { date: new Date(0) }, '{}']) {
    t.strictSame((await stringified(() => app.sse.send('x', data))).map(({ replaced }) => replaced), [false])
  }
})

t.test('toJSON() is called once, and not on what it returns', async t => {
  let calls = 0
  const inner = { toJSON: () => { calls++; return 'never' }, bytes: Uint8Array.of(1), list: [new Uint8Array(0)] }
  const data = { a: { toJSON: () => { calls++; return inner } }, b: [Object.assign(() => {}, { toJSON: () => Buffer.from('ab') })] }
  t.strictSame(await texts(t, [data]), ['{"a":{"bytes":"AQ==","list":[""]},"b":["YWI="]}'])
  t.equal(calls, 1)
})

t.test('binary data is Base64 at any depth, and data that contains itself is refused', async t => {
  const nested = (value: unknown, depth: number): unknown => depth === 0 ? value : [nested(value, depth - 1)]
  for (const wrap of [(value: unknown) => value, (value: unknown) => ({ toJSON: () => value })]) {
    const [text] = await texts(t, [wrap(nested(Buffer.from('ab'), 500))])
    t.equal(text, `${'['.repeat(500)}"YWI="${']'.repeat(500)}`)
    const own: Record<string, unknown> = { bytes: Uint8Array.of(1) }
    own['own'] = wrap(own)
    const app = await buildApp(t)
    await t.rejects(app.sse.send('x', own), { code: 'SSE_ERR_INVALID_DATA' })
  }
})

t.test('the data is read when the call is made, so later changes are not sent', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open()
  const data = { n: 1 }
  app.sse.send('x', data)
  data.n = 2
  t.strictSame((await received(stream)).map(({ data }) => data), ['{"n":1}'])
})

t.test('the application\'s own serializer gets the data and the name of the event', async t => {
  const calls: unknown[][] = []
  const app = await buildApp(t, {
    serializer: (...args) => {
      calls.push(args)
      return `<${String(args[0])}>`
    }
  })
  const open = await opener(t, app)
  const stream = await open('room')
  const data = { toString: () => 'object' }
  await app.sse.send('a', data)
  await app.sse.toChannel('room', 'b', undefined)
  await app.sse.send('c', 'raw is not serialised', { raw: true })
  await stream.client.send('d', 4)
  t.strictSame((await received(stream)).map(({ event, data }) => [event, data]), [['a', '<object>'], ['b', '<undefined>'], ['c', 'raw is not serialised'], ['d', '<4>']])
  t.equal(calls[0]![0], data, 'the very same object')
  t.strictSame(calls.slice(0, 3).map(([, event]) => event), ['a', 'b', 'd'])
  t.ok(calls.every(({ length }) => length === 2))
  t.equal(calls[1]![0], undefined)
})

t.test('an event is serialised once, however many clients get it', async t => {
  let calls = 0
  const app = await buildApp(t, { serializer: data => `${String(data)} ${++calls}` })
  const open = await opener(t, app)
  const streams = [await open('a'), await open('b'), await open(['a', 'b'])]
  await app.sse.toChannels(['a', 'b'], 'x', 'call')
  t.equal(calls, 1)
  for (const stream of streams) t.strictSame((await received(stream)).map(({ data }) => data), ['call 1'])
})

t.test('an event is refused if its serializer throws or returns no string', async t => {
  const app = await buildApp(t, { serializer: data => (data as () => string)() })
  const open = await opener(t, app)
  const stream = await open()
  const reason = new Error('the reason')
  const error = await app.sse.send('evt', () => { throw reason }).catch(error => error)
  t.ok(error instanceof SSE_ERR_INVALID_DATA)
  t.equal(error.cause, reason)
  t.match(error.message, /"evt".*the reason/)
  t.match(await app.sse.send('evt', () => { throw 'words' }).catch(error => error), { code: 'SSE_ERR_INVALID_DATA', message: /words/ }) // eslint-disable-line no-throw-literal -- what a careless serializer does
  for (const value of [undefined, null, 1, {}, Buffer.from('x'), Promise.resolve('x')]) {
    t.match(await app.sse.send('evt', () => value).catch(error => error), { code: 'SSE_ERR_INVALID_DATA', message: /"evt"/ })
  }
  await app.sse.send('evt', () => '')
  t.strictSame((await received(stream)).map(({ data }) => data), [''])
})

t.test('JSON.stringify can be given as the serializer', async t => {
  t.strictSame(await texts(t, [{ a: 1 }, [1], 'x'], { serializer: JSON.stringify as (data: unknown) => string }), ['{"a":1}', '[1]', '"x"'])
})
