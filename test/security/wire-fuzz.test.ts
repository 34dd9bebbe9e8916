// Random events through the encoder, and through the hub on a real stream. Their bytes are cut at random places and read by three
// readers that share no code. Each reader must get exactly the events that were sent.
import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { toJSON } from '../../lib/schemas/json.js'
import { checkEventName } from '../../lib/names.js'
import { formatComment, formatEvent, formatRetry } from '../../lib/wire/format.js'
import { buildApp } from '../support/app.js'
import { createParser, EventSourceStream } from '../support/newest-clients.js'
import { opener } from '../support/open.js'
import { Random } from '../support/random.js'
import { StrictReader, type StreamSink, type StrictReaderOptions } from '../support/strict-reader.js'

/** Random events through the encoder. */
const EVENTS = 1_000_000
const BATCH = 2000
/** Random events through the hub, over sockets. */
const STREAMS = 40
const PUBLISHED = 500

// The input.

const PLAIN = [
  'x', 'text', '0', '1', 'é', '漢', '😀', '👩‍👩‍👧', '\t', '"', '\\', '{', '}', '\u007F', '\u0085', '\u2028', '\u2029', '\u000B', '\u000C', '\uFFFD', '\uFFFF',
  ' ', '  ', ':', '::', ' :', ': ', '\uFEFF', '\uD83D', '\uDE00', '\uD800', '\uDFFF', 'data', 'data:', 'data: ', 'event', 'event: ', 'id: 1', 'retry: 0',
  'sse:', 'sse:open', 'message', ':comment', '[DONE]', 'constructor'
]
const BREAKS = [
  '\n', '\r', '\r\n', '\n\r', '\n\n', '\r\r', '\r\n\r\n', '\nid: 1', '\rid: 1\r', '\n\nevent: x', '\nretry: 0', '\rretry: 0\r', '\n\ndata: forged\n\n',
  '\r\n\r\nevent: sse:gap\r\ndata: {"lost":1}\r\n\r\n', '\n:\n\n', '\nid\n', '\ndata\n', '\nevent\n', '\n\uFEFFid: 2\n', '\n id: 3\n', '\nretry: 1e3\n'
]
const PIECES = [...PLAIN, ...PLAIN, ...BREAKS, ...BREAKS, '\0', '\nid: \0\n']

/** One thing that is written. A single retry is written as the hub writes it, with a blank line. */
type Input =
  | { readonly kind: 'event', readonly id: string | null, readonly name: string, readonly data: string, readonly value: unknown, readonly retry: number }
  | { readonly kind: 'comment', readonly id: string | null }
  | { readonly kind: 'retry', readonly retry: number }

const RAW = Symbol('data that was text from the start')
const ESCAPED_KEY = /\\.[^"\\]*":/

function textOf (random: Random, pieces: readonly string[], most: number): string {
  let text = ''
  for (let count = random.below(most + 1); count > 0; count--) text += random.pick(pieces)
  // Any code unit from 16 on. The pieces have the important ones below 16, which ids and most names must not have.
  if (random.chance(0.02)) text += String.fromCharCode(16 + random.below(0x10000 - 16))
  return random.chance(0.0002) ? text.repeat(1 + random.below(2000)) : text
}

/** Most of these names are accepted. The others check the rules for names. */
function nameOf (random: Random): string {
  if (random.chance(0.01)) return random.chance(0.1) ? 'n'.repeat(250 + random.below(10)) : textOf(random, PIECES, 3)
  return random.pick(PLAIN) + textOf(random, PLAIN, 2)
}

function valueOf (random: Random, depth: number): unknown {
  switch (random.below(depth === 0 ? 5 : 7)) {
    case 0: return random.below(1_000_000) - 500_000
    case 1: return random.next()
    case 2: return random.pick([null, true, false])
    case 3:
    case 4: return textOf(random, PIECES, 4)
    case 5: return Array.from({ length: random.below(4) }, () => valueOf(random, depth - 1))
    default: return Object.fromEntries(Array.from({ length: random.below(3) }, () => [`k${textOf(random, PIECES, 2)}`, valueOf(random, depth - 1)]))
  }
}

/** Whether a name must be refused. This repeats the rules of `lib/names.ts`. */
function isRefused (name: string): boolean {
  return name === '' || name.length > 256 || !name.isWellFormed() || name.startsWith('sse:') || name.includes('\r') || name.includes('\n') || name.includes('\0')
}

function inputOf (random: Random, number: number): Input {
  const value = random.chance(0.3) ? valueOf(random, 2) : RAW
  let name = nameOf(random)
  while (!isTaken(name)) name = nameOf(random)
  return {
    kind: 'event',
    // The broker makes the ids. They only must not have CR, LF or NUL.
    id: random.chance(0.8) ? `${textOf(random, PLAIN, 1)}${number}` : null,
    name,
    data: value === RAW ? textOf(random, PIECES, 6) : toJSON(value)!,
    value,
    retry: random.chance(0.1) ? retryOf(random) : -1
  }
}

function retryOf (random: Random): number {
  return random.chance(0.1) ? 0 : random.below(2 ** 31)
}

let refused = 0

/** Whether the hub accepts a name. Throws if that is wrong. */
function isTaken (name: string): boolean {
  let code = ''
  try {
    checkEventName(name)
  } catch (error) {
    code = (error as { code: string }).code
  }
  if (code !== (isRefused(name) ? 'SSE_ERR_INVALID_EVENT_NAME' : '')) throw new Error(inASCII(`the name ${JSON.stringify(name)} gave "${code}"`))
  if (code !== '') refused++
  return code === ''
}

function batchOf (random: Random, events: number): Input[] {
  const inputs: Input[] = []
  for (let number = 0; number < events; number++) {
    inputs.push(inputOf(random, number))
    if (random.chance(0.05)) inputs.push({ kind: 'comment', id: random.chance(0.5) ? null : `c${number}` })
    if (random.chance(0.02)) inputs.push({ kind: 'retry', retry: retryOf(random) })
  }
  return inputs
}

function textIn (inputs: readonly Input[]): string {
  let text = ''
  for (const input of inputs) {
    if (input.kind === 'event') text += formatEvent(input.id, input.name, input.data, input.retry)
    else if (input.kind === 'comment') text += formatComment(input.id)
    else text += formatRetry(input.retry) + '\n'
  }
  return text
}

// The model: the expected output.

interface Model {
  /** For each event, the fields that readers report, and the reconnection time at that point; -1 for none. */
  readonly types: string[]
  readonly datas: string[]
  readonly lastEventIds: string[]
  readonly ownIds: Array<string | undefined>
  readonly retries: number[]
  readonly values: unknown[]
  retryLines: number
  comments: number
  lastRetry: number
}

/**
 * The format itself changes two things. A line break in raw data may be CRLF, CR or LF, and arrives as LF. A lone surrogate has
 * no UTF-8, and arrives as U+FFFD. JSON has no line breaks, and escapes surrogates.
 */
function arrives (text: string): string {
  return text.replaceAll('\r\n', '\n').replaceAll('\r', '\n').replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, '\uFFFD')
}

function modelOf (inputs: readonly Input[]): Model {
  const model: Model = { types: [], datas: [], lastEventIds: [], ownIds: [], retries: [], values: [], retryLines: 0, comments: 0, lastRetry: -1 }
  let lastEventId = ''
  for (const input of inputs) {
    if (input.kind === 'comment') model.comments++
    else if (input.retry !== -1) model.retryLines++
    if (input.kind !== 'comment' && input.retry !== -1) model.lastRetry = input.retry
    if (input.kind === 'retry') continue
    const id = input.id === null ? undefined : arrives(input.id)
    lastEventId = id ?? lastEventId
    if (input.kind === 'comment') continue
    model.types.push(arrives(input.name))
    model.datas.push(input.value === RAW ? arrives(input.data) : JSON.stringify(input.value))
    model.lastEventIds.push(lastEventId)
    model.ownIds.push(id)
    model.retries.push(model.lastRetry)
    model.values.push(input.value)
  }
  return model
}

/** Compares each event of a reader with the model. */
class Comparison {
  retry = -1
  retryLines = 0
  comments = 0
  count = 0
  flaw = ''
  readonly model: Model

  constructor (model: Model) {
    this.model = model
  }

  /** @param id the last event id or the event's own id. It depends on the reader. `ids` has the expected ones */
  event (type: string, data: string, id: string | undefined, ids: ReadonlyArray<string | undefined>): void {
    const { model } = this
    const at = this.count++
    if (type === model.types[at] && data === model.datas[at] && id === ids[at] && this.retry === model.retries[at]) return
    const expected = at < model.types.length ? [model.types[at], model.datas[at], ids[at], model.retries[at]] : 'no event'
    this.flaw ||= `event ${at} is ${inWords([type, data, id, this.retry])}, and should be ${inWords(expected)}`
  }

  end (): string {
    const { model } = this
    if (this.flaw !== '') return this.flaw
    if (this.count !== model.types.length) return `${this.count} events came, not ${model.types.length}`
    return this.retry === model.lastRetry ? '' : `the retry at the end is ${this.retry}, not ${model.lastRetry}`
  }

  /** For readers that report all lines. */
  endOfLines (): string {
    const { model } = this
    if (this.end() !== '') return this.end()
    if (this.retryLines !== model.retryLines) return `${this.retryLines} retries came, not ${model.retryLines}`
    return this.comments === model.comments ? '' : `${this.comments} comments came, not ${model.comments}`
  }
}

function inWords (value: unknown): string {
  return JSON.stringify(value).slice(0, 500)
}

/** Only ASCII. If a message has U+2028, or a hash like a directive's, tap loses the failure and finds no tests. */
function inASCII (message: string): string {
  return message.replace(/[^ -~]|#/g, character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

// The readers. Each returns what is wrong, or ''.

type Read = (pieces: readonly Uint8Array[], model: Model) => string

function readStrictly (pieces: readonly Uint8Array[], model: Model): string {
  const comparison = new Comparison(model)
  const reader = new StrictReader({
    event: (type, data, lastEventId) => comparison.event(type, data, lastEventId, model.lastEventIds),
    retry: milliseconds => {
      comparison.retry = milliseconds
      comparison.retryLines++
    },
    comment: text => {
      if (text !== '') throw new Error(`a comment that says something: ${JSON.stringify(text)}`)
      comparison.comments++
    }
  }, { strict: true })
  for (const piece of pieces) reader.feed(piece)
  reader.end()
  return comparison.endOfLines()
}

/** It does not report an id without an event, so this compares the events' own ids. */
function readByEventsourceParser (pieces: readonly Uint8Array[], model: Model): string {
  const comparison = new Comparison(model)
  const decoder = new TextDecoder()
  const parser = createParser({
    onEvent: ({ id, event, data }) => comparison.event(event ?? 'message', data, id, model.ownIds),
    onRetry: milliseconds => {
      comparison.retry = milliseconds
      comparison.retryLines++
    },
    onComment: () => { comparison.comments++ },
    onError: error => { throw error }
  })
  for (const piece of pieces) parser.feed(decoder.decode(piece, { stream: true }))
  return comparison.endOfLines()
}

/** Its retries and ids are in its state. It does not report comments. */
function readByUndici (pieces: readonly Uint8Array[], model: Model): string {
  const comparison = new Comparison(model)
  const stream = new EventSourceStream({
    eventSourceSettings: {
      get reconnectionTime () { return comparison.retry },
      set reconnectionTime (milliseconds) { comparison.retry = milliseconds }
    },
    push: ({ type, options }) => {
      comparison.event(type, options.data, options.lastEventId ?? '', model.lastEventIds)
      return true
    }
  })
  stream.on('error', error => { comparison.flaw ||= String(error) })
  for (const piece of pieces) stream.write(piece)
  return comparison.end()
}

const READERS: Record<string, Read> = {
  'the strict reader': readStrictly,
  'eventsource-parser': readByEventsourceParser,
  'undici\'s EventSourceStream': readByUndici
}

/** Cuts bytes at random places. The size of the pieces is random as well; sometimes they are very small. */
function cut (random: Random, bytes: Uint8Array): Uint8Array[] {
  const most = random.chance(0.01) ? 3 : random.pick([60, 600, 6000, 60_000])
  const pieces: Uint8Array[] = []
  for (let at = 0; at < bytes.length;) {
    const end = at + 1 + random.below(most)
    pieces.push(bytes.subarray(at, end))
    at = end
  }
  return pieces
}

/** Tells what is wrong with the results of the readers, or ''. */
function flawOf (pieces: readonly Uint8Array[], model: Model, readers = READERS): string {
  for (const [name, read] of Object.entries(readers)) {
    let flaw
    try {
      flaw = read(pieces, model)
    } catch (error) {
      flaw = String(error)
    }
    if (flaw !== '') return `${name}: ${flaw}`
  }
  return ''
}

/** The same for the encoder's text of some inputs, as a whole and byte by byte. */
function flawIn (inputs: readonly Input[]): string {
  const bytes = Buffer.from(textIn(inputs))
  const model = modelOf(inputs)
  return flawOf([bytes], model) || flawOf([...bytes].map(byte => Uint8Array.of(byte)), model)
}

/** Finds one wrong input if one is enough, otherwise a few. Then it makes them shorter. Ids and names are never empty. */
function smallest (inputs: readonly Input[]): readonly Input[] {
  const isWrong = (inputs: readonly Input[]): boolean => flawIn(inputs) !== ''
  const one = inputs.find(input => isWrong([input]))
  let found = one === undefined ? inputs : [one]
  for (let size = Math.ceil(found.length / 2); size > 0 && found.length > 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < found.length;) {
      const fewer = found.toSpliced(at, size)
      if (isWrong(fewer)) found = fewer
      else at += size
    }
  }
  for (let index = 0; index < found.length; index++) {
    for (const field of ['data', 'name', 'id'] as const) {
      for (let at = 0; ;) {
        const input = found[index]!
        const text = input.kind === 'event' ? input[field] : null
        if (text === null || at >= text.length || (text.length === 1 && field !== 'data')) break
        const shorter = { ...input, ...(field === 'data' ? { value: RAW } : {}), [field]: text.slice(0, at) + text.slice(at + 1) } as Input
        const wrong = isWrong(found.with(index, shorter))
        if (wrong) found = found.with(index, shorter)
        at = wrong ? 0 : at + 1
      }
    }
  }
  return found
}

t.test('every reader gets exactly the events that go through the encoder', async t => {
  const random = new Random()
  t.comment(`SEED=${random.seed}`)
  let bytesRead = 0
  let pieceCount = 0
  for (let events = 0; events < EVENTS; events += BATCH) {
    const inputs = batchOf(random, BATCH)
    const bytes = Buffer.from(textIn(inputs))
    const pieces = cut(random, bytes)
    const model = modelOf(inputs)
    bytesRead += bytes.length
    pieceCount += pieces.length
    const flaw = flawOf(pieces, model)
    if (flaw !== '') {
      // If the fault needs exactly these cuts, only the seed can be shown.
      const least = flawIn(inputs) === '' ? [] : smallest(inputs)
      return t.fail(inASCII(`${flaw}; smallest input: ${JSON.stringify(least)}: ${flawIn(least)}`))
    }
    // A reader parses JSON next. V8 may take an escaped key for another one, in Node from 24 on (nodejs/node#63785), so these
    // events are left out.
    for (let at = 0; at < model.values.length; at += 7) {
      const value = model.values[at]
      if (value !== RAW && !ESCAPED_KEY.test(model.datas[at]!) && !isDeepStrictEqual(JSON.parse(model.datas[at]!), value)) return t.fail(inASCII(`JSON of ${inWords(value)} is ${model.datas[at]}`))
    }
    // undici's stream does some work in a later turn.
    await new Promise(resolve => setImmediate(resolve))
  }
  t.pass(`${EVENTS} events, ${bytesRead} bytes in ${pieceCount} pieces, read whole by each of ${Object.keys(READERS).length} readers`)
  t.comment(`${refused} names were refused, each with its code; ${bytesRead} bytes, ${pieceCount} pieces`)
  t.ok(refused > EVENTS / 1000)
})

interface Call {
  /** Makes the call as an application does, and resolves with the event's id. */
  readonly make: () => Promise<string | null>
  readonly input: Input
  /** The expected error code, or '' if the call must succeed. */
  readonly refused: string
}

t.test('every published event arrives on a real stream, and a refused one leaves no byte there', async t => {
  const random = new Random()
  t.comment(`SEED=${random.seed}`)
  const app = await buildApp(t, { historySize: 0, heartbeatInterval: 0, maxBufferedBytes: 64 * 1024 * 1024, reconnectSpread: 0 })
  const open = await opener(t, app)
  let refusals = 0
  for (let stream = 0; stream < STREAMS; stream++) {
    // With 'c' at its beginning it is no id of the hub's own.
    const clientId = `c${random.pick(PLAIN)}${textOf(random, PLAIN, 3)}`.toWellFormed()
    const { raw, client } = await open('room', { id: clientId, retry: null })

    function callOf (): Call {
      const name = random.chance(0.1) ? textOf(random, PIECES, 3) : nameOf(random)
      const value = random.chance(0.4) ? valueOf(random, 2) : RAW
      // Raw data that is not a string, and a retry that is not a valid time.
      const notText = value === RAW && random.chance(0.02)
      const text = textOf(random, PIECES, 6)
      const data = notText ? random.pick([1, null, { toString: () => text }, Buffer.from(text)]) : value === RAW ? text : value
      const own = random.chance(0.2)
      const transient = !own && random.chance(0.2)
      const badRetry = random.pick(['1\n\nevent: x', '0', -1, 0.5, 2 ** 31, NaN, Infinity, null])
      const retry = own || random.chance(0.8) ? -1 : retryOf(random)
      const options: object = {
        ...(value === RAW ? { raw: true } : {}), ...(transient ? { transient } : {}), ...(retry === -1 ? {} : { retry: random.chance(0.05) ? badRetry : retry })
      }
      const retryIsBad = 'retry' in options && options.retry !== retry
      const make = async (): Promise<string | null> => {
        if (own) {
          if (!await client.send(name, data, options)) throw new Error('the client is gone')
          return null
        }
        switch (random.below(4)) {
          case 0: return (await app.sse.send(name, data, options)).id
          case 1: return (await app.sse.toChannel('room', name, data, options)).id
          case 2: return (await app.sse.toChannels(['other', 'room'], name, data, options)).id
          default: return (await app.sse.toClient(clientId, name, data, options)).id
        }
      }
      return {
        make,
        refused: retryIsBad ? 'SSE_ERR_INVALID_OPTION' : isRefused(name) ? 'SSE_ERR_INVALID_EVENT_NAME' : notText ? 'SSE_ERR_INVALID_DATA' : '',
        input: { kind: 'event', id: null, name, data: String(data), value, retry }
      }
    }

    // The greeting comes first. It may have the id of the newest event.
    await raw.untilEvents(1)
    const greeting: Input = { kind: 'event', id: raw.events[0]!.id ?? null, name: 'sse:open', data: '', value: { clientId, recovered: false }, retry: -1 }
    const inputs: Input[] = [greeting]
    for (let number = 0; number < PUBLISHED; number++) {
      const { make, refused, input } = callOf()
      let code = ''
      let id: string | null = null
      try {
        id = await make()
      } catch (error) {
        code = (error as { code: string }).code
      }
      if (code !== refused) return t.fail(inASCII(`${inWords(input)} gave "${code}", and should give "${refused}"`))
      if (code === '') inputs.push({ ...input, id } as Input)
      else refusals++
    }
    const mark = `the end of stream ${stream}`
    await client.send('mark', mark, { raw: true })
    inputs.push({ kind: 'event', id: null, name: 'mark', data: mark, value: RAW, retry: -1 })
    await raw.until(() => raw.received.includes(mark + '\n\n'))
    const flaw = flawOf(cut(random, raw.body), modelOf(inputs))
    if (flaw !== '') return t.fail(inASCII(`stream ${stream}: ${flaw}`))
    raw.destroy()
  }
  t.pass(`${STREAMS * PUBLISHED - refusals} events arrived at each reader`)
  t.comment(`${refusals} calls of ${STREAMS * PUBLISHED} were refused, each with its code`)
  t.ok(refusals > STREAMS * PUBLISHED / 100)
})

// These tests check that the readers find faults.

t.test('the strict reader reads the examples of the standard as the standard says', async t => {
  // WHATWG HTML 9.2.6, from "The following event stream, once followed by a blank line" on.
  t.same(lenient('data: YHOO\ndata: +2\ndata: 10\n\n').events, [['message', 'YHOO\n+2\n10', '']])
  t.same(lenient(': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n').events,
    [['message', 'first event', '1'], ['message', 'second event', '']])
  t.same(lenient('data\n\ndata\ndata\n\ndata:').events, [['message', '', ''], ['message', '\n', '']])
  t.same(lenient('data:test\n\ndata: test\n\n').events, [['message', 'test', ''], ['message', 'test', '']])
  for (const end of ['\n', '\r', '\r\n']) {
    const text = 'event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n:\n'.replaceAll('\n', end)
    t.same(lenient(text).events, [['add', '73857293', ''], ['remove', '2153', '']])
  }
  t.same(lenient('\uFEFFdata: a\n\n\uFEFFdata: b\n\n').events, [['message', 'a', '']], 'one byte order mark goes')
  t.same(lenient('retry: 10\nretry: 1e3\nretry:\nretry: -1\nretry: 007\n\n').retries, [10, 7])
})

const MALFORMED: Record<string, string> = {
  'an unknown field': 'data: 1\nx: 2\n\n',
  'a field with a space before its name': ' data: 2\ndata: 1\n\n',
  'a line without a colon': 'data: 1\nnothing\n\n',
  'an id with NUL': 'id: a\0b\ndata: 1\n\n',
  'a retry that is no number': 'retry: 1s\ndata: 1\n\n',
  'an event without data': 'event: x\n\ndata: 1\n\n',
  'an event that does not end': 'data: 1\n\ndata: 2\n',
  'a line that does not end': 'data: 1\n\ndata: 2'
}

t.test('the strict reader ignores what the standard ignores, and in strict mode throws on it', async t => {
  for (const [what, text] of Object.entries(MALFORMED)) {
    t.same(lenient(text), { events: [['message', '1', '']], retries: [] }, what)
    t.throws(() => strict(text), what)
  }
  for (const text of ['data: 1\r\n\r\n', 'data: 1\r\r', 'data:1\n\n', 'id: 1\nid: 2\ndata: 1\n\n', 'event: a\nevent: b\ndata: 1\n\n']) {
    t.equal(lenient(text).events.length, 1)
    t.throws(() => strict(text), `the standard takes it, and the hub never writes it: ${JSON.stringify(text)}`)
  }
  t.throws(() => new StrictReader(collect().sink, { strict: true }).feed(Uint8Array.of(0xED, 0xA0, 0x80)), 'what is not UTF-8')
})

t.test('each reader sees a forged event, an id, a retry and data that differs', async t => {
  const inputs: Input[] = [
    { kind: 'event', id: '1', name: 'a', data: 'x', value: RAW, retry: 5 }, { kind: 'event', id: null, name: 'b', data: 'y', value: RAW, retry: -1 }
  ]
  const model = modelOf(inputs)
  t.equal(flawOf([Buffer.from(textIn(inputs))], model), '')
  for (const [what, text] of Object.entries({
    'an event more': textIn(inputs) + 'data: z\n\n',
    'an event less': textIn(inputs.slice(0, 1)),
    'another order': textIn(inputs.toReversed()),
    'a name': textIn(inputs).replace('event: b', 'event: c'),
    'an id': textIn(inputs).replace('event: b', 'id: 2\nevent: b'),
    'a retry': textIn(inputs).replace('event: b', 'retry: 0\nevent: b'),
    'a retry at the end': textIn(inputs) + 'retry: 0\n\n',
    data: textIn(inputs).replace('data: y', 'data:  y'),
    'a line of data': textIn(inputs).replace('data: y', 'data: y\ndata: ')
  })) {
    for (const [name, read] of Object.entries(READERS)) t.not(flawOf([Buffer.from(text)], model, { [name]: read }), '', `${name}: ${what}`)
  }
})

interface Collected { events: Array<[type: string, data: string, lastEventId: string]>, retries: number[] }

function collect (): { sink: StreamSink, collected: Collected } {
  const collected: Collected = { events: [], retries: [] }
  return {
    collected,
    sink: { event: (...event) => collected.events.push(event), retry: milliseconds => collected.retries.push(milliseconds), comment: () => {} }
  }
}

function read (text: string, options: StrictReaderOptions): Collected {
  const { sink, collected } = collect()
  const reader = new StrictReader(sink, options)
  // It feeds single bytes, so that each line comes in parts.
  for (const byte of Buffer.from(text)) reader.feed(Uint8Array.of(byte))
  reader.end()
  return collected
}

function lenient (text: string): Collected {
  return read(text, { strict: false })
}

function strict (text: string): Collected {
  return read(text, { strict: true })
}
