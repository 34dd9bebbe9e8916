// The public types, by topic. Imports among these files point one way: schemas, broker ← client, channel ← hub ← observability
// ← plugin. They must not know how the hub is built: none imports from lib/.
export type * from './schemas.js'
export type * from './broker.js'
export type * from './client.js'
export type * from './channel.js'
export type * from './hub.js'
export type * from './observability.js'
export type * from './plugin.js'
