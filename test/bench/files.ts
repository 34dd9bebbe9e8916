// How many files, and so connections, a process may have open here.
import { spawnSync } from 'node:child_process'

/** File descriptors that a process needs beside its clients'. */
const OTHER_FILES = 200

export const fileLimit = Number(spawnSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).stdout) || Infinity
export const mostClients = fileLimit - OTHER_FILES
