// The wire format: data arrives as it was sent, and can't forge an event, an id or a retry.
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { formatComment, formatEvent, formatRetry } from '../../lib/wire/format.js'
import { buildApp, listen } from '../support/app.js'
import { createParser, EventSource } from '../support/newest-clients.js'
import { opener, received } from '../support/open.js'

interface ReadEvent {
  type: string
  data: string
  lastEventId: string
}

interface ReadStream {
  events: ReadEvent[]
  retries: number[]
  comments: string[]
  lastEventId: string
}

/**
 * Reads a stream exactly as WHATWG HTML says in 9.2.5 (the grammar) and 9.2.6 (what each line does). It is stricter in one
 * point: a field that the standard ignores is an error here, because the hub must not write one.
 */
function read (stream: string): ReadStream {
  const result: ReadStream = { events: [], retries: [], comments: [], lastEventId: '' }
  let data = ''
  let type = ''
  let id = ''
  const text = stream.startsWith('\uFEFF') ? stream.slice(1) : stream
  const lines = text.split(/\r\n|\n|\r/)
  if (lines.pop() !== '') throw new Error('the last line has no end')
  for (const line of lines) {
    if (line === '') {
      result.lastEventId = id
      if (data !== '') result.events.push({ type: type === '' ? 'message' : type, data: data.slice(0, -1), lastEventId: id })
      data = type = ''
      continue
    }
    if (line.startsWith(':')) {
      result.comments.push(line.slice(1))
      continue
    }
    const colon = line.indexOf(':')
    const field = colon === -1 ? line : line.slice(0, colon)
    const rest = colon === -1 ? '' : line.slice(colon + 1)
    const value = rest.startsWith(' ') ? rest.slice(1) : rest
    if (field === 'event') type = value
    else if (field === 'data') data += value + '\n'
    else if (field === 'id' && !value.includes('\0')) id = value
    else if (field === 'retry' && /^[0-9]+$/.test(value)) result.retries.push(Number(value))
    else throw new Error(`a line that is ignored: ${JSON.stringify(line)}`)
  }
  if (data !== '' || type !== '') throw new Error('the last event has no end')
  return result
}

/** Reads it with the library that `EventSource` uses. */
function parse (stream: string): ReadStream {
  const result: ReadStream = { events: [], retries: [], comments: [], lastEventId: '' }
  const parser = createParser({
    onEvent: ({ id, event, data }) => {
      result.lastEventId = id ?? result.lastEventId
      result.events.push({ type: event ?? 'message', data, lastEventId: result.lastEventId })
    },
    onRetry: milliseconds => result.retries.push(milliseconds),
    onComment: comment => result.comments.push(comment),
    onError: error => { throw error }
  })
  parser.feed(stream)
  return result
}

/** How raw data arrives. */
function withLF (text: string): string {
  return text.replace(/\r\n|\r/g, '\n')
}

const FORGERIES = [
  '\n\nevent: forged\ndata: 1\n\n', '\r\rid: forged\rdata: 1\r\r', '\r\n\r\nretry: 1\r\n\r\n', '\nid: forged', '\rretry: 1',
  'x\n\n\nx', ':\n\n', '\n:comment', 'data: x', 'id: x', 'event: x', 'retry: 1', '\u2028id: x\u2029\u0085\u000B\u000C'
]

const PAYLOADS = [
  '', ' ', '  two spaces', ':', ': comment', '\n', '\r', '\r\n', '\n\r', '\r\r\n\n', 'a\nb', 'a\rb', 'a\r\nb', 'a\n', '\na', 'a\n\n', '\n\n\n',
  '\u2028', '\u2029', 'a\u2028b\u2029c', '\u0085', '\0', 'a\0b', '\uFEFF', '\uFEFFa', 'a\uFEFF', '\uD800', 'a\uDC00b', '\uDC00\uD800', '🎉', '👩‍👩‍👧‍👦', 'ä€𝄞',
  '\t', '\u001b[31m', '"quotes" and \\', '</script>', '\uFFFD', '\uFFFF', '\u007F\u0080\u00FF', ...FORGERIES
]

t.test('every payload arrives intact as JSON on a bare socket', async t => {
  const app = await buildApp(t, { maxEventBytes: 8 * 1024 * 1024, maxBufferedBytes: 32 * 1024 * 1024 })
  const open = await opener(t, app)
  const stream = await open()
  const payloads = [...PAYLOADS, 'x'.repeat(1024 * 1024), '🎉\r\n\u2028'.repeat(100_000)]
  const ids = []
  for (const payload of payloads) ids.push((await app.sse.send('payload', payload)).id)
  const events = await received(stream)
  t.strictSame(events.map(({ id }) => id), ids)
  // It does not use `strictSame`, and no message has a payload: tap takes minutes to compare a megabyte, and fails with U+2028.
  t.equal(events.findIndex(({ data }, index) => JSON.parse(data) !== payloads[index]), -1, 'the first that differs')
})

t.test('every payload arrives intact as JSON in an EventSource, live and replayed', async t => {
  const app = await buildApp(t, { historySize: 1000, maxEventBytes: 8 * 1024 * 1024, maxBufferedBytes: 32 * 1024 * 1024 })
  app.get('/events', (_request, reply) => { reply.sse() })
  const port = await listen(app)
  const payloads = [...PAYLOADS, 'x'.repeat(1024 * 1024), { nested: PAYLOADS, '\nkey\r': { '': null } }]
  const read = async (): Promise<unknown[]> => {
    const source = new EventSource(`http://127.0.0.1:${port}/events`)
    t.teardown(() => source.close())
    const got: unknown[] = []
    const done = new Promise<void>(resolve => source.addEventListener('payload', ({ data }) => {
      if (got.push(JSON.parse(data)) === payloads.length) resolve()
    }))
    await new Promise(resolve => source.addEventListener('sse:open', resolve, { once: true }))
    if (app.sse.stats().published === 0) for (const payload of payloads) await app.sse.send('payload', payload)
    await done
    // The server ends the stream. After a `close()` during a `fetch`, a second connection would stay open for a minute.
    const ended = new Promise(resolve => source.addEventListener('error', resolve, { once: true }))
    for (const client of app.sse.clients()) client.close()
    await ended
    source.close()
    return got
  }
  t.ok(isDeepStrictEqual(await read(), payloads), 'live')
  t.ok(isDeepStrictEqual(await read(), payloads), 'replayed')
})

t.test('raw data arrives as it is with line breaks as LF, and forges nothing', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open()
  for (const payload of PAYLOADS) await app.sse.send('payload', payload, { raw: true })
  const events = await received(stream)
  // A lone surrogate is not valid Unicode text, and has no UTF-8.
  t.strictSame(events.map(({ data }) => data), PAYLOADS.map(payload => Buffer.from(withLF(payload)).toString()))
  t.ok(events.every(({ event }) => event === 'payload'))
  t.notOk(read(stream.raw.text).retries.includes(1))
})

t.test('text of a custom serializer may have line breaks and forges nothing either', async t => {
  const app = await buildApp(t, { serializer: data => String(data) })
  const open = await opener(t, app)
  const stream = await open()
  for (const payload of FORGERIES) await app.sse.send('payload', payload)
  const events = await received(stream)
  t.strictSame(events.map(({ event, data }) => [event, data]), FORGERIES.map(payload => ['payload', withLF(payload)]))
})

t.test('names with spaces, colons and any characters arrive as they are', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open()
  const names = [
    ' ', '  ', ' leading', 'trailing ', ':', '::', 'a:b', ' : ', 'data: x', 'größe', '🎉', '\u2028', '\u0085', '\uFEFF', '\t', '\u000B', 'message', 'constructor', 'ä'.repeat(256), '"', 'a,b;c'
  ]
  for (const name of names) await app.sse.send(name, 1)
  t.strictSame((await received(stream)).map(({ event }) => event), names)
  t.strictSame(read(stream.raw.text).events.slice(1, -1).map(({ type }) => type), names)
})

t.test('the bytes of an event are exact', async t => {
  t.equal(formatEvent('7', 'message', '{"a":1}', -1), 'event: message\ndata: {"a":1}\nid: 7\n\n')
  t.equal(formatEvent(null, 'message', '1', -1), 'event: message\ndata: 1\n\n')
  t.equal(formatEvent('7', 'x', '1', 0), 'event: x\nretry: 0\ndata: 1\nid: 7\n\n')
  t.equal(formatEvent('7', 'x', '', -1), 'event: x\ndata: \nid: 7\n\n')
  t.equal(formatEvent('7', 'x', ' 1', -1), 'event: x\ndata:  1\nid: 7\n\n')
  t.equal(formatEvent('7', 'x', 'a\r\nb\rc\nd', -1), 'event: x\ndata: a\ndata: b\ndata: c\ndata: d\nid: 7\n\n')
  t.equal(formatEvent('7', 'x', '\n', -1), 'event: x\ndata: \ndata: \nid: 7\n\n')
})

t.test('a comment dispatches nothing, and one with an id sets the last event id', async t => {
  t.strictSame(read(formatComment(null)), { events: [], retries: [], comments: [''], lastEventId: '' })
  t.strictSame(read(formatComment('7')), { events: [], retries: [], comments: [''], lastEventId: '7' })
  t.strictSame(parse(formatComment(null)).events, [])
  const after = formatEvent('1', 'x', 'a', -1) + formatComment('7') + formatEvent(null, 'x', 'b', -1)
  t.strictSame(read(after).events, [{ type: 'x', data: 'a', lastEventId: '1' }, { type: 'x', data: 'b', lastEventId: '7' }])
})

t.test('a single retry works and dispatches nothing', async t => {
  t.strictSame(read(formatRetry(1234)), { events: [], retries: [1234], comments: [], lastEventId: '' })
  t.strictSame(parse(formatRetry(1234)), { events: [], retries: [1234], comments: [], lastEventId: '' })
})

/** Mulberry32: small, with a seed, and good enough to pick characters. */
function randomOf (seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6D2B79F5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
  }
}

t.test('whatever the data is, each event is read back exactly as it was written', async t => {
  const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
  t.comment(`SEED=${seed}`)
  const random = randomOf(seed)
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)]!
  const pieces = [...PAYLOADS, ...FORGERIES, '\n', '\r', '\r\n', ':', ' ', 'data', 'id', 'event', 'retry', '1', 'x', '\n\n', '\r\r']
  const text = (most: number): string => Array.from({ length: Math.floor(random() * (most + 1)) }, () => pick(pieces)).join('')
  const name = (): string => text(4).replace(/[\0\r\n]/g, '').slice(0, 256) || 'x'

  const sent: ReadEvent[] = []
  const retries: number[] = []
  let comments = 0
  let stream = ''
  let lastEventId = ''
  for (let n = 0; n < 20_000; n++) {
    const id = random() < 0.8 ? `${n.toString(36)}-${Math.floor(random() * 1e6)}` : null
    const retry = random() < 0.2 ? Math.floor(random() * 1e6) : -1
    const data = text(8)
    const type = name()
    lastEventId = id ?? lastEventId
    if (retry >= 0) retries.push(retry)
    const one = formatEvent(id, type, data, retry)
    stream += one
    sent.push({ type, data: withLF(data), lastEventId })
    if (random() < 0.1) {
      stream += formatComment(null)
      comments++
    }
    if (random() < 0.1) {
      stream += formatRetry(n)
      retries.push(n)
    }
  }
  for (const [reader, result] of [['the standard', read(stream)], ['eventsource-parser', parse(stream)]] as const) {
    t.equal(result.events.length, sent.length, `${reader}: as many events`)
    const wrong = sent.findIndex((event, index) => JSON.stringify(event) !== JSON.stringify(result.events[index]))
    t.equal(wrong, -1, `${reader}: ${wrong === -1 ? 'all equal' : JSON.stringify([sent[wrong], result.events[wrong]])}`)
    t.equal(result.retries.join(), retries.join(), `${reader}: the retries`)
    t.equal(result.comments.length, comments, `${reader}: the comments`)
  }
})

t.test('the bytes of a stream mean the same wherever the network cuts them', async t => {
  const app = await buildApp(t)
  const open = await opener(t, app)
  const stream = await open()
  for (const payload of PAYLOADS) await app.sse.send('größe 🎉', payload, { raw: true, retry: 5 })
  await received(stream)
  const bytes = stream.raw.body
  const whole = parse(bytes.toString('utf8'))
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  const events: string[] = []
  const parser = createParser({ onEvent: ({ data }) => events.push(data), onError: error => { throw error } })
  for (const byte of bytes) parser.feed(decoder.decode(Uint8Array.of(byte), { stream: true }))
  t.strictSame(events, whole.events.map(({ data }) => data))
  t.equal(Buffer.from(bytes.toString('utf8')).equals(bytes), true, 'it is UTF-8 throughout')
})
