// Checks the options of the registration and of the calls against TypeBox schemas, and has their defaults. It must not know
// what the options do.
import { KindGuard, Type, type Static, type TObject, type TSchema } from '@sinclair/typebox'
import { TypeCompiler, type TypeCheck } from '@sinclair/typebox/compiler'
import type { FastifyRequest } from 'fastify'
import type { SSECompressOptions, SSEEventSchemas, SSEMetricsOptions, SSEPluginOptions } from '../types/index.js'
import { addressKey } from './address-key.js'
import { SSE_ERR_INVALID_OPTION } from './errors.js'
import { flawOfEventName } from './names.js'
import { MAX_WRITE } from './wire/chunk.js'

/** The longest time that a timer of Node takes, in milliseconds: about 24.8 days. */
const MAX_TIME = 2 ** 31 - 1

/**
 * About how long a browser waits before it reconnects where no `retry:` was sent, in milliseconds. At shutdown `reconnectSpread`
 * is counted from it then.
 */
export const USUAL_RETRY = 3000

const MIB = 1024 * 1024

const Time = Type.Integer({ minimum: 0, maximum: MAX_TIME })
const Count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const Size = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })
const Text = Type.String({ minLength: 1, maxLength: 256 })
const Replay = Type.Union([Type.Literal('all'), Type.Literal('missed'), Type.Literal('none')])
const Compress = Type.Union([Type.Boolean(), Type.Object({}, { additionalProperties: true })])
const Strict = { additionalProperties: false }

const BROKER_METHODS = ['start', 'publish', 'head', 'position', 'close'] as const
/** A valid label of Prometheus. Names with `__` at the beginning belong to Prometheus, and `le` to the histogram. */
const LABEL = /^(?!__|le$)[a-zA-Z_][a-zA-Z0-9_]*$/
const REGISTER_METHODS = ['registerMetric', 'getSingleMetric', 'removeSingleMetric'] as const

const RegistrationOptions = Type.Partial(Type.Object({
  heartbeatInterval: Time,
  heartbeatEvent: Text,
  retry: Type.Union([Time, Type.Null()]),
  historySize: Count,
  historyMaxAge: Time,
  historyMaxBytes: Count,
  replay: Replay,
  greeting: Type.Boolean(),
  maxClients: Count,
  maxClientsPerKey: Count,
  key: Type.Function([Type.Any()], Type.Any()),
  maxChannelsPerClient: Count,
  maxEventBytes: Size,
  maxBufferedBytes: Size,
  slowClient: Type.Union([Type.Literal('disconnect'), Type.Literal('drop')]),
  stallTimeout: Time,
  closeTimeout: Time,
  reconnectSpread: Time,
  lastEventIdQuery: Type.Union([Text, Type.Null()]),
  compress: Compress,
  events: Type.Record(Type.String(), Type.Any()),
  serializer: Type.Function([Type.Unknown(), Type.String()], Type.String()),
  // Its methods are checked below: TypeBox's errors say that the methods of a class are missing.
  broker: Type.Object({}, { additionalProperties: true }),
  metrics: Type.Any(),
  // Options of Fastify's own, which it gives to every plugin.
  prefix: Type.Any(),
  logLevel: Type.Any(),
  logSerializers: Type.Any()
}, Strict))

const ConnectOptions = Type.Partial(Type.Object({
  // Checked by the rules for names, with an error code of its own.
  id: Type.Any(),
  metadata: Type.Object({}, { additionalProperties: true }),
  events: Type.Array(Type.Any()),
  broadcast: Type.Boolean(),
  greeting: Type.Boolean(),
  replay: Replay,
  lastEventId: Type.Union([Type.String(), Type.Null()]),
  retry: Type.Union([Time, Type.Null()]),
  compress: Compress
}, Strict))

const CompressOptions = Type.Partial(Type.Object({
  threshold: Type.Integer({ minimum: 0, maximum: MAX_WRITE }),
  level: Type.Integer({ minimum: 1, maximum: 9 })
}, Strict))

const MetricsOptions = Type.Object({
  // Its methods are checked below, as those of a broker.
  register: Type.Object({}, { additionalProperties: true }),
  prefix: Type.Optional(Type.String({ pattern: '^([a-zA-Z_:][a-zA-Z0-9_:]*)?$' })),
  // To Prometheus an empty label is no label.
  labels: Type.Optional(Type.Record(Type.String(), Type.String({ minLength: 1 })))
}, Strict)

const PublishOptions = Type.Partial(Type.Object({
  transient: Type.Boolean(),
  except: Text,
  retry: Time,
  raw: Type.Boolean(),
  key: Text,
  remove: Type.Boolean(),
  idempotencyKey: Text,
  compress: Type.Boolean()
}, Strict))

const SendOptions = Type.Partial(Type.Object({ raw: Type.Boolean(), compress: Type.Boolean() }, Strict))

const StreamOptions = Type.Composite([Type.Object({ event: Type.Any() }), SendOptions], Strict)

const registration = TypeCompiler.Compile(RegistrationOptions)
const connect = TypeCompiler.Compile(ConnectOptions)
const compress = TypeCompiler.Compile(CompressOptions)
const metrics = TypeCompiler.Compile(MetricsOptions)
const publish = TypeCompiler.Compile(PublishOptions)
const send = TypeCompiler.Compile(SendOptions)
const stream = TypeCompiler.Compile(StreamOptions)

function check<Schema extends TObject> (of: TypeCheck<Schema>, options: unknown, where: string): Static<Schema> {
  if (of.Check(options)) return options
  const { path, message, schema } = of.Errors(options).First()!
  const name = path.slice(1).split('/')[0]
  if (name === '') throw new SSE_ERR_INVALID_OPTION(`The options of ${where} must be an object`)
  const properties = Object.keys(of.Schema().properties)
  if (!properties.includes(name!)) {
    throw new SSE_ERR_INVALID_OPTION(`Unknown option "${name}" of ${where}; there are ${properties.join(', ')}`)
  }
  throw new SSE_ERR_INVALID_OPTION(`Option "${name}" of ${where} is invalid: ${message}${accepted(schema)}`)
}

/** What may be chosen, e.g. `: "disconnect" or "drop"`. TypeBox's message about a failed choice does not say it. */
function accepted (schema: TSchema): string {
  if (!KindGuard.IsUnion(schema)) return ''
  return `: ${schema.anyOf.map(choice => KindGuard.IsLiteral(choice) ? JSON.stringify(choice.const) : choice.type).join(' or ')}`
}

/**
 * Refuses lone surrogates, for the reason that `flawOf` gives.
 * @throws SSE_ERR_INVALID_OPTION
 */
export function checkWellFormed (name: string, value: string | null | undefined, where: string): void {
  if (value?.isWellFormed() === false) {
    throw new SSE_ERR_INVALID_OPTION(`Option "${name}" of ${where} is invalid: it must be well formed, without lone surrogates`)
  }
}

/** Makes the check of options that another file has the schema of. */
export function checker<Schema extends TObject> (schema: Schema, where: string): (options: unknown) => Static<Schema> {
  const compiled = TypeCompiler.Compile(schema)
  return options => check(compiled, options, where)
}

/** @throws SSE_ERR_INVALID_OPTION */
export const checkConnectOptions = (options: unknown): Static<typeof ConnectOptions> => check(connect, options, 'reply.sse()')
/** @throws SSE_ERR_INVALID_OPTION */
export function checkPublishOptions (options: unknown): Static<typeof PublishOptions> {
  const checked = check(publish, options, 'a publish')
  checkWellFormed('except', checked.except, 'a publish')
  checkWellFormed('key', checked.key, 'a publish')
  checkWellFormed('idempotencyKey', checked.idempotencyKey, 'a publish')
  return checked
}
/** @throws SSE_ERR_INVALID_OPTION */
export const checkSendOptions = (options: unknown): Static<typeof SendOptions> => check(send, options, 'client.send()')
/** @throws SSE_ERR_INVALID_OPTION */
export const checkStreamOptions = (options: unknown): Static<typeof StreamOptions> => check(stream, options, 'client.stream()')

const COMPRESSION: Required<SSECompressOptions> = { threshold: 256, level: 3 }

/**
 * The settings that `compress` gives. `null` where nothing is compressed. Example: with `{ level: 6 }` for the hub and
 * `{ threshold: 100 }` for a stream, the stream has both.
 * @param usual the hub's settings, for all that the option leaves out
 * @throws SSE_ERR_INVALID_OPTION
 */
export function compressionOf (option: boolean | SSECompressOptions | undefined, usual: Required<SSECompressOptions> | null): Required<SSECompressOptions> | null {
  if (option === undefined) return usual
  if (option === false) return null
  return { ...COMPRESSION, ...usual, ...option === true ? {} : check(compress, option, '"compress"') }
}

/** @throws SSE_ERR_INVALID_OPTION */
function metricsOf (option: SSEMetricsOptions | undefined): Required<SSEMetricsOptions> | null {
  if (option === undefined) return null
  const { register, prefix = '', labels = {} } = check(metrics, option, '"metrics"') as SSEMetricsOptions
  for (const method of REGISTER_METHODS) {
    if (typeof register[method] !== 'function') {
      throw new SSE_ERR_INVALID_OPTION(`Option "register" of "metrics" is invalid: it has no method "${method}"; a Registry of prom-client has`)
    }
  }
  for (const label of Object.keys(labels)) {
    if (!LABEL.test(label)) {
      throw new SSE_ERR_INVALID_OPTION(`Option "labels" of "metrics" is invalid: "${label}" can't be a label; it must match ${LABEL}`)
    }
  }
  return { register, prefix, labels: { ...labels } }
}

/** The options of the registration, with their defaults. No limit is `Infinity`. */
export interface HubOptions {
  readonly heartbeatInterval: number
  readonly heartbeatEvent: string | null
  readonly retry: number | null
  readonly historySize: number
  readonly historyMaxAge: number
  readonly historyMaxBytes: number
  readonly replay: 'all' | 'missed' | 'none'
  readonly greeting: boolean
  readonly maxClients: number
  readonly maxClientsPerKey: number
  readonly key: (request: FastifyRequest) => string | undefined
  readonly maxChannelsPerClient: number
  readonly maxEventBytes: number
  readonly maxBufferedBytes: number
  readonly slowClient: 'disconnect' | 'drop'
  readonly stallTimeout: number
  readonly closeTimeout: number
  readonly reconnectSpread: number
  readonly lastEventIdQuery: string | null
  readonly compress: Required<SSECompressOptions> | null
  readonly events: SSEEventSchemas | undefined
  /** `undefined`: JSON. */
  readonly serializer: SSEPluginOptions['serializer']
  readonly metrics: Required<SSEMetricsOptions> | null
}

/** @throws SSE_ERR_INVALID_OPTION, with the option's name in its message */
export function hubOptions (options: SSEPluginOptions): HubOptions {
  check(registration, options, 'fastify-sse-hub')
  for (const [event, schema] of Object.entries(options.events ?? {})) {
    const flaw = flawOfEventName(event)
    if (flaw !== '') throw new SSE_ERR_INVALID_OPTION(`Option "events" of fastify-sse-hub is invalid: an event name ${flaw}`)
    if (!KindGuard.IsSchema(schema)) {
      throw new SSE_ERR_INVALID_OPTION(`Option "events" of fastify-sse-hub is invalid: "${event}" is not a TypeBox schema; those of @sinclair/typebox are, of "typebox" they are not`)
    }
  }
  for (const method of BROKER_METHODS) {
    if (options.broker !== undefined && typeof options.broker[method] !== 'function') {
      throw new SSE_ERR_INVALID_OPTION(`Option "broker" of fastify-sse-hub is invalid: it has no method "${method}"`)
    }
  }
  if (options.heartbeatEvent !== undefined) {
    const flaw = flawOfEventName(options.heartbeatEvent)
    if (flaw !== '') throw new SSE_ERR_INVALID_OPTION(`Option "heartbeatEvent" of fastify-sse-hub is invalid: an event name ${flaw}`)
  }
  const { maxBufferedBytes = MIB, maxEventBytes = MIB } = options
  if (options.maxEventBytes !== undefined && maxEventBytes > maxBufferedBytes) {
    throw new SSE_ERR_INVALID_OPTION(`Option "maxEventBytes" of fastify-sse-hub is invalid: an event of ${maxEventBytes} bytes is more than may wait for a client, because "maxBufferedBytes" is ${maxBufferedBytes}; give at most that, or raise "maxBufferedBytes"`)
  }
  checkWellFormed('lastEventIdQuery', options.lastEventIdQuery, 'fastify-sse-hub')
  return {
    heartbeatInterval: options.heartbeatInterval ?? 30_000,
    heartbeatEvent: options.heartbeatEvent ?? null,
    retry: options.retry === undefined ? 3000 : options.retry,
    historySize: options.historySize ?? 50,
    historyMaxAge: options.historyMaxAge ?? Infinity,
    historyMaxBytes: options.historyMaxBytes ?? 64 * 1024 * 1024,
    replay: options.replay ?? 'all',
    greeting: options.greeting ?? true,
    maxClients: options.maxClients ?? Infinity,
    maxClientsPerKey: options.maxClientsPerKey ?? Infinity,
    key: options.key ?? addressKey,
    maxChannelsPerClient: options.maxChannelsPerClient ?? 100,
    maxEventBytes,
    maxBufferedBytes,
    slowClient: options.slowClient ?? 'disconnect',
    stallTimeout: options.stallTimeout ?? 60_000,
    closeTimeout: options.closeTimeout ?? 2000,
    reconnectSpread: options.reconnectSpread ?? 5000,
    lastEventIdQuery: options.lastEventIdQuery === undefined ? 'lastEventId' : options.lastEventIdQuery,
    compress: compressionOf(options.compress, null),
    events: options.events,
    serializer: options.serializer,
    metrics: metricsOf(options.metrics)
  }
}
