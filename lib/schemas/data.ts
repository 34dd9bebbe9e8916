// How an event's data becomes text: by the event's schema where schemas are given, else by the serializer. It must
// not know of the wire format.
import type { TSchema } from '@sinclair/typebox'
import { TypeCompiler, type TypeCheck } from '@sinclair/typebox/compiler'
import type { SSEEventSchemas, SSEPluginOptions } from '../../types/index.js'
import { declared } from './declared.js'
import { keyPropertyOf } from './keyed.js'
import { SSE_ERR_INVALID_DATA, SSE_ERR_INVALID_OPTION, SSE_ERR_UNKNOWN_EVENT } from '../errors.js'
import { flawOf } from '../names.js'

type Serializer = NonNullable<SSEPluginOptions['serializer']>

export class DataFormat {
  readonly #serializer: Serializer
  readonly #checks: ReadonlyMap<string, TypeCheck<TSchema>> | null

  constructor (serializer: Serializer | undefined, schemas: SSEEventSchemas | undefined) {
    this.#serializer = serializer ?? (toJSON as Serializer)
    this.#checks = schemas === undefined
      ? null
      : new Map(Object.entries(schemas).map(([event, schema]) => [event, compiled(event, schema)]))
  }

  /** @throws SSE_ERR_UNKNOWN_EVENT where schemas are given, and none for this event */
  checkKnown (event: string): void {
    this.#checkOf(event)
  }

  /**
   * @param raw the data is text already
   * @throws SSE_ERR_INVALID_DATA, SSE_ERR_UNKNOWN_EVENT
   */
  format (event: string, data: unknown, raw: boolean): string {
    const check = this.#checkOf(event)
    if (check !== null) this.#check(check, event, data)
    if (raw) {
      if (typeof data !== 'string') throw new SSE_ERR_INVALID_DATA(`The data of event "${event}" must be a string, since it is sent raw`)
      return data
    }
    let text: unknown
    try {
      text = check === null ? this.#serializer(data, event) : toJSON(declared(check.Schema(), check.References(), data))
    } catch (error) {
      throw unserialisable(event, error)
    }
    // Of an async serializer's promise nobody would see the rejection, which ends the process.
    if (text instanceof Promise) text.catch(() => {})
    if (typeof text !== 'string') throw new SSE_ERR_INVALID_DATA(`The data of event "${event}" can't be serialised`)
    return text
  }

  /**
   * The key that an event's data has, where its schema names it; `''` where it names none.
   * @throws SSE_ERR_INVALID_DATA where it has no usable one
   */
  eventKey (event: string, data: unknown): string {
    const property = this.#checks === null ? undefined : keyPropertyOf(this.#checkOf(event)!.Schema())
    if (property === undefined) return ''
    const key = (data as Record<string, unknown> | null)?.[property]
    const text = typeof key === 'number' ? String(key) : key
    const flaw = flawOf(text)
    if (flaw !== '') throw new SSE_ERR_INVALID_DATA(`The data of event "${event}" has no key at "/${property}": it ${flaw}`)
    return text as string
  }

  #check (check: TypeCheck<TSchema>, event: string, data: unknown): void {
    let flaw
    try {
      if (check.Check(data)) return
      flaw = check.Errors(data).First()
    } catch (error) {
      // A getter of the data's, or a cycle where the schema is recursive.
      throw unserialisable(event, error)
    }
    // A format that answers otherwise when it is asked again finds nothing.
    const { path = '', message = 'it is said to be valid when looked at again' } = flaw ?? {}
    throw new SSE_ERR_INVALID_DATA(`The data of event "${event}" is not what its schema says, at "${path || '/'}": ${message}`)
  }

  #checkOf (event: string): TypeCheck<TSchema> | null {
    if (this.#checks === null) return null
    const check = this.#checks.get(event)
    if (check === undefined) throw new SSE_ERR_UNKNOWN_EVENT(`Event "${event}" has no schema in the "events" option; there are ${[...this.#checks!.keys()].join(', ')}`)
    return check
  }
}

function compiled (event: string, schema: TSchema): TypeCheck<TSchema> {
  try {
    return TypeCompiler.Compile(schema)
  } catch (error) {
    // A kind that TypeBox does not know, a reference that leads nowhere.
    const reason = error instanceof Error ? error.message : String(error)
    throw Object.assign(new SSE_ERR_INVALID_OPTION(`Option "events" of fastify-sse-hub is invalid: the schema of "${event}": ${reason}`), { cause: error })
  }
}

function unserialisable (event: string, cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return Object.assign(new SSE_ERR_INVALID_DATA(`The data of event "${event}" can't be serialised: ${reason}`), { cause })
}

/** What `JSON.stringify` made of a Buffer or a typed array, if there was one; it may be something else. */
const MAYBE_BINARY = /"type":"Buffer"|\{"0":|\{\}/

/** The default serializer: JSON, with `undefined` as `null` and binary data, at any depth, as Base64. */
export function toJSON (data: unknown): string | undefined {
  if (data === undefined) return 'null'
  let text
  try {
    text = JSON.stringify(data)
  } catch {
    // A BigInt64Array's items have no JSON of their own; what has none anyway throws again.
    return JSON.stringify(data, withBase64)
  }
  // A replacer costs several times the whole call, so it runs only where there may be something for it.
  return text !== undefined && MAYBE_BINARY.test(text) ? JSON.stringify(data, withBase64) : text
}

/** A replacer: reads the holder, since a Buffer's own `toJSON` has run on the value. */
function withBase64 (this: Record<string, unknown>, key: string, value: unknown): unknown {
  // The holder's, or what a `toJSON` made of it.
  const original = ArrayBuffer.isView(value) ? value : this[key]
  return ArrayBuffer.isView(original)
    ? Buffer.from(original.buffer, original.byteOffset, original.byteLength).toString('base64')
    : value
}
