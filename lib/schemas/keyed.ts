// Schemas that name the property of their data that is the event's key. It must not know of events or the hub.
import { KindGuard, type Static, type TSchema } from '@sinclair/typebox'
import type { SSEKeyProperty } from '../../types/index.js'
import { SSE_ERR_INVALID_OPTION } from '../errors.js'

const PROPERTY = Symbol('fastify-sse-hub.key')

/**
 * Names the property of an event's data that is its key. Each publish of the event then takes
 * {@link SSEPublishOptions.key | key} from its data:
 * ```ts
 * const events = { price: keyed(Type.Object({ symbol: Type.String(), price: Type.Number() }), 'symbol') }
 * ```
 * @param schema of the event's data; a copy is returned, and it is not changed
 * @param property a property that holds a string or a number
 * @throws {@link SSE_ERR_INVALID_OPTION} where the schema of an object has no such property
 * @category Schemas
 */
export function keyed<Schema extends TSchema> (schema: Schema, property: SSEKeyProperty<Static<Schema>>): Schema {
  if (typeof property !== 'string' || (KindGuard.IsObject(schema) && !Object.hasOwn(schema.properties, property))) {
    throw new SSE_ERR_INVALID_OPTION(`keyed() takes the name of a property of its schema, and there is no "${String(property)}"`)
  }
  return { ...schema, [PROPERTY]: property }
}

/** The property that a schema names as its key, if any. */
export function keyPropertyOf (schema: TSchema): string | undefined {
  return (schema as TSchema & { readonly [PROPERTY]?: string })[PROPERTY]
}
