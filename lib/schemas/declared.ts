// Takes from an event's data the part that its schema declares. It must not know of JSON or of events.
//
// TypeBox's `Value.Clean` does not do here, for three reasons:
// - It changes its argument. All data would have to be cloned first, and a clone fails at undeclared functions and cycles.
// - It keeps an undeclared "constructor" or "toString".
// - Where several parts of a union or an intersection declare the same field, it keeps what one part declares of it.
import { KindGuard, type TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'

type Fields = Record<string, unknown>

/**
 * A copy of the value without what the schema does not declare. Where the schema declares any value, the value itself. Example:
 * with the schema `{ name: string }` the value `{ name: 'a', password: 'b' }` gives `{ name: 'a' }`.
 * @param value must pass the schema's check
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
  // An object without a prototype takes a field of any name, e.g. "__proto__".
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

/** What one or more of these schemas declare. The value passes all of them. */
function ofAll (schemas: readonly TSchema[], references: readonly TSchema[], value: unknown): unknown {
  if (schemas.length === 0) return value
  return schemas.map(schema => declared(schema, references, value)).reduce((one, other) => merged(one, other, value))
}

function merged (one: unknown, other: unknown, value: unknown): unknown {
  // One of the schemas declares any value.
  if (one === value || other === value) return value
  if (Array.isArray(one)) return one.map((item, index) => merged(item, (other as unknown[])[index], (value as unknown[])[index]))
  const fields = one as Fields
  for (const [key, field] of Object.entries(other as Fields)) {
    fields[key] = Object.hasOwn(fields, key) ? merged(fields[key], field, (value as Fields)[key]) : field
  }
  return fields
}
