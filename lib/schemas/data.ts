// Turns an event's data into text: by the event's schema where schemas are given, else by the serializer. It must not know of
// the wire format.
import type { TSchema } from '@sinclair/typebox'
import { TypeCompiler, type TypeCheck } from '@sinclair/typebox/compiler'
import type { SSEEventSchemas, SSEPluginOptions } from '../../types/index.js'
import { declared } from './declared.js'
import { toJSON } from './json.js'
import { keyPropertyOf } from './keyed.js'
import { SSE_ERR_INVALID_DATA, SSE_ERR_INVALID_OPTION, SSE_ERR_UNKNOWN_EVENT } from '../errors.js'
import { flawOf } from '../names.js'
import { reasonOf } from '../reason.js'

type Serializer = NonNullable<SSEPluginOptions['serializer']>

interface EventFormat {
  readonly check: TypeCheck<TSchema>
  /** The property of the data that is the event's key. */
  readonly keyProperty: string | undefined
}

export class DataFormat {
  readonly #serializer: Serializer
  readonly #formats: ReadonlyMap<string, EventFormat> | null

  constructor (serializer: Serializer | undefined, schemas: SSEEventSchemas | undefined) {
    this.#serializer = serializer ?? (toJSON as Serializer)
    this.#formats = schemas === undefined
      ? null
      : new Map(Object.entries(schemas).map(([event, schema]) => [event, compiled(event, schema)]))
  }

  /** @throws SSE_ERR_UNKNOWN_EVENT where schemas are given, but none for this event */
  checkKnown (event: string): void {
    this.#formatOf(event)
  }

  /**
   * @param raw the data is text already and is not serialised
   * @throws SSE_ERR_INVALID_DATA, SSE_ERR_UNKNOWN_EVENT
   */
  format (event: string, data: unknown, raw: boolean): string {
    const check = this.#formatOf(event)?.check
    if (check !== undefined) this.#check(check, event, data)
    if (raw) {
      if (typeof data !== 'string') throw new SSE_ERR_INVALID_DATA(`The data of event "${event}" must be a string, since it is sent raw`)
      return data
    }
    let text: unknown
    try {
      text = check === undefined ? this.#serializer(data, event) : toJSON(declared(check.Schema(), check.References(), data))
    } catch (error) {
      throw unserialisable(event, error)
    }
    // An async serializer is refused below. Nobody else handles a rejection of its promise, which would end the process.
    if (text instanceof Promise) text.catch(() => {})
    if (typeof text !== 'string') throw new SSE_ERR_INVALID_DATA(`The data of event "${event}" can't be serialised`)
    return text
  }

  /**
   * The key in an event's data, where its schema names a property for it; `''` where it names none. Example: with
   * `keyed(schema, 'symbol')` the key of `{ symbol: 'ACME', price: 102 }` is `'ACME'`. A number is taken as text.
   * @throws SSE_ERR_INVALID_DATA where the property holds no valid key
   */
  eventKey (event: string, data: unknown): string {
    const property = this.#formatOf(event)?.keyProperty
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
      // A getter in the data threw, or the data has a cycle and the schema is recursive.
      throw unserialisable(event, error)
    }
    // Nothing is found where a format answers differently the second time, e.g. a regular expression with the flag "g".
    const { path = '', message = 'it is said to be valid when looked at again' } = flaw ?? {}
    throw new SSE_ERR_INVALID_DATA(`The data of event "${event}" is not what its schema says, at "${path || '/'}": ${message}`)
  }

  #formatOf (event: string): EventFormat | undefined {
    const formats = this.#formats
    if (formats === null) return undefined
    const format = formats.get(event)
    if (format === undefined) throw new SSE_ERR_UNKNOWN_EVENT(`Event "${event}" has no schema in the "events" option; there are ${[...formats.keys()].join(', ')}`)
    return format
  }
}

function compiled (event: string, schema: TSchema): EventFormat {
  try {
    return { check: TypeCompiler.Compile(schema), keyProperty: keyPropertyOf(schema) }
  } catch (error) {
    // TypeBox does not know the schema's kind, or a reference leads nowhere.
    throw Object.assign(new SSE_ERR_INVALID_OPTION(`Option "events" of fastify-sse-hub is invalid: the schema of "${event}": ${reasonOf(error)}`), { cause: error })
  }
}

function unserialisable (event: string, cause: unknown): Error {
  return Object.assign(new SSE_ERR_INVALID_DATA(`The data of event "${event}" can't be serialised: ${reasonOf(cause)}`), { cause })
}
