// The application's own types: which events it has, and what it knows of a client. All other public types follow from them.
// It must not know of clients or the hub.
import type { Static, TSchema } from '@sinclair/typebox'

/**
 * Declare your events and your client metadata here, once, and every call follows:
 *
 * ```ts
 * declare module 'fastify-sse-hub' {
 *   interface SSERegister { events: typeof events, metadata: { user: string } }
 * }
 * ```
 * With nothing declared, event names are `string`, data is `unknown`, metadata is a record of unknowns.
 * @category Schemas
 */
export interface SSERegister {}

/**
 * One TypeBox schema per event name.
 * @category Schemas
 */
export type SSEEventSchemas = Record<string, TSchema>

/**
 * The names that may be published: the declared ones, or any string.
 * @category Schemas
 */
export type SSEEventName = SSERegister extends { events: infer Events } ? Extract<keyof Events, string> : string

/**
 * The data that goes with an event name.
 * @category Schemas
 */
export type SSEEventData<Name extends SSEEventName> =
  SSERegister extends { events: infer Events }
    ? Name extends keyof Events
      ? Events[Name] extends TSchema ? Static<Events[Name]> : never
      : never
    : unknown

/**
 * What a publishing call takes as data: a string where `raw` is set, else what the event's schema says; `null` to remove a state.
 * @category Schemas
 */
export type SSEInput<Name extends SSEEventName, Options> =
  (Options extends { raw: true } ? string : SSEEventData<Name>) | (Options extends { remove: true } ? null : never)

/**
 * The properties of an event's data that can be its key. See `keyed()`.
 * @category Schemas
 */
export type SSEKeyProperty<Data> = [Data] extends [object]
  ? { [Property in keyof Data]-?: Data[Property] extends string | number ? Property : never }[keyof Data] & string
  : never

/**
 * What a route says of its client.
 * @category Schemas
 */
export type SSEMetadata = SSERegister extends { metadata: infer Metadata } ? Metadata : Record<string, unknown>
