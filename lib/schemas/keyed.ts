// Schemas whose data say by themselves whose state they are. It must not know of events or the hub.
import { KindGuard, type Static, type TSchema } from '@sinclair/typebox'
import type { SSEKeyProperty } from '../../types/index.js'
import { SSE_ERR_INVALID_OPTION } from '../errors.js'

const PROPERTY = Symbol('fastify-sse-hub.key')

/**
 * Names the property of an event's data that is its key: each publish of the event has `key` from its data then.
 * ```ts
 * const events = { price: keyed(Type.Object({ symbol: Type.String(), price: Type.Number() }), 'symbol') }
 * ```
 * @param schema of the event's data; it is not changed
 * @param property one that holds a string or a number
 * @throws {@link SSE_ERR_INVALID_OPTION} where an object's schema has no such property
 * @category Schemas
 */
export function keyed<Schema extends TSchema> (schema: Schema, property: SSEKeyProperty<Static<Schema>>): Schema {
  if (typeof property !== 'string' || (KindGuard.IsObject(schema) && !Object.hasOwn(schema.properties, property))) {
    throw new SSE_ERR_INVALID_OPTION(`keyed() takes the name of a property of its schema, and there is no "${String(property)}"`)
  }
  return { ...schema, [PROPERTY]: property }
}

/** The property that a schema names as its key, if it does. */
export function keyPropertyOf (schema: TSchema): string | undefined {
  return (schema as TSchema & { readonly [PROPERTY]?: string })[PROPERTY]
}
