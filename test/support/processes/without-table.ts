// Loaded before a program: its system then has no table of connections, as in some containers.
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

const { openSync } = fs
fs.openSync = (path, ...rest) => {
  if (path === '/proc/self/net/tcp') throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
  return openSync(path, ...rest)
}
syncBuiltinESMExports()
