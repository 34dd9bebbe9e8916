// What an application declares: its events and what it knows of a client. The types of all calls follow from it. It must not
// know of clients or the hub.
import type { Static, TSchema } from '@sinclair/typebox'

/**
 * Declare your events and your client metadata here once. All calls are typed by it:
 *
 * ```ts
 * declare module 'fastify-sse-hub' {
 *   interface SSERegister { events: typeof events, metadata: { user: string } }
 * }
 * ```
 * The events are TypeBox schemas, or plain types: `events: { price: { symbol: string, price: number } }`. Where nothing is
 * declared, event names are `string`, data is `unknown`, and metadata is a record of unknowns.
 * @category Schemas
 */
export interface SSERegister {}

/**
 * One TypeBox schema for each event name.
 * @category Schemas
 */
export type SSEEventSchemas = Record<string, TSchema>

/**
 * The event names that may be published: the declared ones, or any string where none are declared.
 * @category Schemas
 */
export type SSEEventName = SSERegister extends { events: infer Events } ? Extract<keyof Events, string> : string

/** What a schema describes, or the type itself where it is no TypeBox schema. */
type DataOf<Declared> = [Declared] extends [TSchema] ? Static<Declared> : Declared

/**
 * The data of an event: what is declared for it, or `unknown` where no events are declared. Of several names it is the data of
 * any of them.
 * @category Schemas
 */
export type SSEEventData<Name extends SSEEventName> =
  SSERegister extends { events: infer Events }
    ? Name extends keyof Events ? DataOf<Events[Name]> : never
    : unknown

/** Data that is right for each of the names. A function's parameters make an intersection of a union. */
type DataForAll<Name extends SSEEventName> =
  SSERegister extends { events: infer Events }
    ? (Name extends keyof Events ? (data: DataOf<Events[Name]>) => void : never) extends (data: infer Data) => void ? Data : never
    : unknown

/**
 * What a publishing call takes as data. With `raw: true` it is a string, else what is declared for the event. With `remove: true`
 * and a `key` it may also be `null`: without data, only the option names the key. Where the name's type is a union, the data must
 * be right for each of its names. A generic function that publishes takes its data as this type.
 * @category Schemas
 */
export type SSEInput<Name extends SSEEventName, Options> =
  (Options extends { raw: true } ? string : DataForAll<Name>) | (Options extends { remove: true, key: string } ? null : never)

/**
 * The properties of an event's data that can be its key: those that hold a string or a number. See {@link keyed}.
 * @category Schemas
 */
export type SSEKeyProperty<Data> = [Data] extends [object]
  ? { [Property in keyof Data]-?: Data[Property] extends string | number ? Property : never }[keyof Data] & string
  : never

/**
 * What a route says about its client, see {@link SSEConnectOptions.metadata}: the declared type, or a record of unknowns.
 * @category Schemas
 */
export type SSEMetadata = SSERegister extends { metadata: infer Metadata } ? Metadata : Record<string, unknown>
