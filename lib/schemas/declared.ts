// The part of an event's data that its schema declares. It must not know of JSON or of events.
//
// Not TypeBox's `Value.Clean`: that one changes its argument, so that a clone of everything would have to come first,
// which undeclared cycles and functions break; it lets an undeclared "constructor" or "toString" through; and of the
// parts of a union or an intersection that declare the same field it keeps one.
import { KindGuard, type TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'

type Fields = Record<string, unknown>

/**
 * A copy without what is not declared; where the schema declares anything at all, the value itself.
 * @param value passes the schema's check
 */
export function declared (schema: TSchema, references: readonly TSchema[], value: unknown): unknown {
  const known = schema.$id === undefined ? references : [...references, schema]
  if (KindGuard.IsImport(schema)) return declared(schema.$defs[schema.$ref as never], [...known, ...Object.values<TSchema>(schema.$defs)], value)
  if (KindGuard.IsRef(schema) || KindGuard.IsThis(schema)) return declared(known.find(({ $id }) => $id === schema.$ref)!, known, value)
  if (KindGuard.IsUnion(schema)) return ofAll(schema.anyOf.filter(part => Value.Check(part, [...known], value)), known, value)
  if (KindGuard.IsIntersect(schema)) return ofIntersection(schema, known, value)
  if (Array.isArray(value)) {
    if (KindGuard.IsArray(schema)) return value.map(item => declared(schema.items, known, item))
    if (KindGuard.IsTuple(schema)) return (schema.items ?? []).map((item, index) => declared(item, known, value[index]))
    return value
  }
  if (typeof value !== 'object' || value === null) return value
  if (KindGuard.IsObject(schema)) return ofFields(value as Fields, key => Object.hasOwn(schema.properties, key) ? schema.properties[key]! : schema.additionalProperties, known)
  if (KindGuard.IsRecord(schema)) {
    const [[pattern, field]] = Object.entries<TSchema>(schema.patternProperties) as [[string, TSchema]]
    const matches = new RegExp(pattern)
    return ofFields(value as Fields, key => matches.test(key) ? field : schema.additionalProperties, known)
  }
  return value
}

function ofFields (value: Fields, schemaOf: (key: string) => TSchema | boolean | undefined, references: readonly TSchema[]): Fields {
  // Without a prototype, a field may have any name.
  const fields: Fields = Object.create(null)
  for (const key of Object.keys(value)) {
    const schema = schemaOf(key)
    if (typeof schema === 'object') fields[key] = declared(schema, references, value[key])
  }
  return fields
}

function ofIntersection (schema: TSchema, references: readonly TSchema[], value: unknown): unknown {
  const all = ofAll(schema.allOf, references, value)
  const { unevaluatedProperties: rest } = schema
  if (typeof rest !== 'object' || all === value) return all
  const fields = all as Fields
  const others = ofFields(value as Fields, key => Object.hasOwn(fields, key) ? undefined : rest, references)
  return Object.assign(fields, others)
}

/** What any of these schemas, all of which the value passes, declares. */
function ofAll (schemas: readonly TSchema[], references: readonly TSchema[], value: unknown): unknown {
  if (schemas.length === 0) return value
  return schemas.map(schema => declared(schema, references, value)).reduce((one, other) => merged(one, other, value))
}

function merged (one: unknown, other: unknown, value: unknown): unknown {
  // The value itself: one of the schemas declares anything.
  if (one === value || other === value) return value
  if (Array.isArray(one)) return one.map((item, index) => merged(item, (other as unknown[])[index], (value as unknown[])[index]))
  const fields = one as Fields
  for (const [key, field] of Object.entries(other as Fields)) {
    fields[key] = Object.hasOwn(fields, key) ? merged(fields[key], field, (value as Fields)[key]) : field
  }
  return fields
}
