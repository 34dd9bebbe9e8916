// The pages for users of other packages: their pairs of programs, and how these run.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { root } from './root.js'

const OURS = 'fastify-sse-hub'
/** The heading of the pair that registers the packages. */
export const SETUP = 'Registering'

export interface Pair {
  readonly task: string
  readonly theirs: string
  readonly ours: string
}

/** The pairs of a page, each with the heading above it. Throws if a section has code that is not one block of each package. */
export function pairsOf (page: string): Pair[] {
  const theirs = /^# From `(.+)`$/m.exec(page)?.[1]
  return page.split(/^## /m).slice(1).flatMap(section => {
    const task = section.slice(0, section.indexOf('\n'))
    const blocks = [...section.matchAll(/^\*\*([^\n]+)\*\*\n\n```js\n(.*?)^```$/gms)]
    const labels = blocks.map(([, label]) => label)
    const fences = [...section.matchAll(/^```/gm)].length
    if (fences === 0) return []
    if (fences !== 4 || labels[0] !== theirs || labels[1] !== OURS) throw new Error(`no pair under "${task}": ${labels.join()}`)
    return [{ task, theirs: blocks[0]![2]!, ours: blocks[1]![2]! }]
  })
}

/** The two programs of a task. A block that makes an app is a complete program. Other blocks need the setup before them. */
export function programsOf (pairs: readonly Pair[], task: string): Pair {
  const find = (task: string): Pair => pairs.find(pair => pair.task === task)!
  const [setup, pair] = [find(SETUP), find(task)]
  const program = (setup: string, block: string): string => block.includes('Fastify(') ? block : `${setup}\n${block}`
  return { task, theirs: program(setup.theirs, pair.theirs), ours: program(setup.ours, pair.ours) }
}

export interface Running {
  readonly app: FastifyInstance
  readonly port: number
}

/** Runs a program in its own module next to the examples, where the packages' names resolve. The caller closes its app. */
export async function start (t: Test, code: string): Promise<Running> {
  const folder = await mkdtemp(`${root}examples/.migration-`)
  t.teardown(() => rm(folder, { recursive: true }))
  await writeFile(`${folder}/program.mjs`, `${code}\nexport { app }\n`)
  const { app } = await import(pathToFileURL(`${folder}/program.mjs`).href) as { app: FastifyInstance }
  await app.listen({ host: '127.0.0.1', port: 0 })
  return { app, port: (app.server.address() as { port: number }).port }
}
