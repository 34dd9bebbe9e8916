// How an event's data becomes text: by the event's schema where schemas are given, else by the serializer. It must
// not know of the wire format.
import type { TSchema } from '@sinclair/typebox'
import { TypeCompiler, type TypeCheck } from '@sinclair/typebox/compiler'
import { Value } from '@sinclair/typebox/value'
import type { SSEEventSchemas } from '../types/index.js'
import { SSE_ERR_INVALID_DATA, SSE_ERR_UNKNOWN_EVENT } from './errors.js'

export type Serializer = (data: unknown, event: string) => string

export class DataFormat {
  readonly #serializer: Serializer
  readonly #checks: ReadonlyMap<string, TypeCheck<TSchema>> | null

  constructor (serializer: Serializer, schemas: SSEEventSchemas | undefined) {
    this.#serializer = serializer
    this.#checks = schemas === undefined
      ? null
      : new Map(Object.entries(schemas).map(([event, schema]) => [event, TypeCompiler.Compile(schema)]))
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
    if (check !== null && !check.Check(data)) {
      const { path, message } = check.Errors(data).First()!
      throw new SSE_ERR_INVALID_DATA(`The data of event "${event}" is not what its schema says, at "${path || '/'}": ${message}`)
    }
    if (raw) {
      if (typeof data !== 'string') throw new SSE_ERR_INVALID_DATA(`The data of event "${event}" must be a string, since it is sent raw`)
      return data
    }
    let text: unknown
    try {
      text = check === null ? this.#serializer(data, event) : toJSON(declared(check, data))
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      throw Object.assign(new SSE_ERR_INVALID_DATA(`The data of event "${event}" can't be serialised: ${reason}`), { cause: error })
    }
    if (typeof text !== 'string') throw new SSE_ERR_INVALID_DATA(`The data of event "${event}" can't be serialised`)
    return text
  }

  #checkOf (event: string): TypeCheck<TSchema> | null {
    if (this.#checks === null) return null
    const check = this.#checks.get(event)
    if (check === undefined) throw new SSE_ERR_UNKNOWN_EVENT(event)
    return check
  }
}

/** A copy of data without what its schema does not declare. */
function declared (check: TypeCheck<TSchema>, data: unknown): unknown {
  return Value.Clean(check.Schema(), check.References(), Value.Clone(data))
}

/** What `JSON.stringify` made of a Buffer or a typed array, if there was one; it may be something else. */
const MAYBE_BINARY = /"type":"Buffer"|\{"0":|\{\}/

/** The default serializer: JSON, with `undefined` as `null` and binary data, at any depth, as Base64. */
export function toJSON (data: unknown): string | undefined {
  const text = data === undefined ? 'null' : JSON.stringify(data)
  // A replacer costs several times the whole call, so it runs only where there may be something for it.
  return text !== undefined && MAYBE_BINARY.test(text) ? JSON.stringify(data, withBase64) : text
}

/** A replacer: reads the holder, since a Buffer's own `toJSON` has run on the value. */
function withBase64 (this: Record<string, unknown>, key: string, value: unknown): unknown {
  const original = this[key]
  return ArrayBuffer.isView(original)
    ? Buffer.from(original.buffer, original.byteOffset, original.byteLength).toString('base64')
    : value
}
