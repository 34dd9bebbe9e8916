// The public types, one file a topic. Imports point one way: schemas, broker ← client, channel ← hub ← observability ← plugin.
// No file here imports from lib/: the types must not know how the hub is built.
export type * from './schemas.js'
export type * from './broker.js'
export type * from './client.js'
export type * from './channel.js'
export type * from './hub.js'
export type * from './observability.js'
export type * from './plugin.js'
