// How many files, and so how many connections, a process may have open on this machine.
import { spawnSync } from 'node:child_process'

/** File descriptors that a process needs in addition to those of its clients. */
const OTHER_FILES = 200

export const fileLimit = Number(spawnSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).stdout) || Infinity
export const mostClients = fileLimit - OTHER_FILES
