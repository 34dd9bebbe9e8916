// The default serializer: JSON, with binary data as Base64. It must not know of events.
//
// JSON writes a view of 700 kB as 700,000 numbers, which takes 200 times as long as its Base64. So the data is looked through
// first. Most data has no view, and is given to JSON as it is.

type Fields = Record<string, unknown>

/** How deep data is looked through. Data that contains itself has no end, which JSON finds by itself. */
const MAX_DEPTH = 100

/** What was found in data. */
const NOTHING = 0
/** A view, or an object whose `toJSON` may return one. */
const SPECIAL = 1
const TOO_DEEP = 2

/** JSON, with `undefined` as `null`. Binary data at any depth becomes Base64. Example: `[new Uint8Array([1])]` becomes `["AQ=="]`. */
export function toJSON (data: unknown): string | undefined {
  if (data === undefined) return 'null'
  const found = lookThrough(data, 0)
  if (found === NOTHING) return JSON.stringify(data)
  const plain = found < TOO_DEEP ? plainOf(data, '', 0) : UNKNOWN
  // A replacer makes the call several times slower, and finds what is too deep for `plainOf`.
  return plain === UNKNOWN ? JSON.stringify(data, replaceViews) : JSON.stringify(plain)
}

/** The hot path of a publish: it allocates nothing. */
function lookThrough (value: unknown, depth: number): number {
  if (typeof value !== 'object' || value === null) return typeof value === 'function' && hasToJSON(value) ? SPECIAL : NOTHING
  if (ArrayBuffer.isView(value)) return SPECIAL
  if (hasToJSON(value)) return value instanceof Date ? NOTHING : SPECIAL
  if (depth === MAX_DEPTH) return TOO_DEEP
  let found = NOTHING
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length && found < TOO_DEEP; index++) {
      const item: unknown = value[index]
      if (typeof item === 'object' || typeof item === 'function') found = Math.max(found, lookThrough(item, depth + 1))
    }
  } else {
    for (const key in value) {
      const field = (value as Fields)[key]
      if (typeof field === 'object' || typeof field === 'function') found = Math.max(found, lookThrough(field, depth + 1))
      if (found === TOO_DEEP) break
    }
  }
  return found
}

function hasToJSON (value: object): value is { toJSON (key: string): unknown } {
  return typeof (value as { toJSON?: unknown }).toJSON === 'function'
}

/** Stands for data that is too deep. */
const UNKNOWN = Symbol('unknown')

/**
 * The data without views and without objects that have a `toJSON`, for JSON. Only what contains one of them is copied.
 * @param key of the value in its holder, which `toJSON` gets
 */
function plainOf (original: unknown, key: string, depth: number): unknown {
  const told = isObject(original) && !ArrayBuffer.isView(original) && hasToJSON(original)
  const value: unknown = told ? original.toJSON(key) : original
  if (ArrayBuffer.isView(value)) return base64(value)
  if (typeof value !== 'object' || value === null || isBoxed(value)) return value
  if (depth === MAX_DEPTH) return UNKNOWN
  // JSON does not call the `toJSON` of what a `toJSON` returned. A copy has none.
  let copy = told ? copyOf(value) : null
  for (const key of Object.keys(value)) {
    const field = (copy ?? value as Fields)[key]
    const plain = plainOf(field, key, depth + 1)
    if (plain === UNKNOWN) return UNKNOWN
    if (plain === field) continue
    copy ??= copyOf(value)
    copy[key] = plain
  }
  return copy ?? value
}

function copyOf (value: object): Fields {
  if (Array.isArray(value)) return value.slice() as unknown as Fields
  // An object without a prototype takes a field of any name, e.g. "__proto__".
  const copy = Object.assign(Object.create(null) as Fields, value)
  if (hasToJSON(copy)) delete (copy as Fields)['toJSON']
  return copy
}

function isObject (value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

/** Whether JSON takes the value as a text, a number or a truth. */
function isBoxed (value: object): boolean {
  return value instanceof String || value instanceof Number || value instanceof Boolean
}

function base64 ({ buffer, byteOffset, byteLength }: ArrayBufferView): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('base64')
}

/** A replacer. It reads the holder, because the `toJSON` of a Buffer has changed the value already. */
function replaceViews (this: Fields, key: string, value: unknown): unknown {
  // The value is binary where a `toJSON` returned binary data. Else the holder has the original.
  const original = ArrayBuffer.isView(value) ? value : this[key]
  return ArrayBuffer.isView(original) ? base64(original) : value
}
