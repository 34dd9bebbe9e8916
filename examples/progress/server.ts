// Jobs that take some time, and streams that follow them.
import { createHash, randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type, type Static } from '@sinclair/typebox'
import sse from 'fastify-sse-hub'

export const events = {
  progress: Type.Object({ files: Type.Integer(), filesDone: Type.Integer(), bytes: Type.Integer(), file: Type.String() }),
  complete: Type.Object({ files: Type.Integer(), bytes: Type.Integer(), seconds: Type.Number(), digest: Type.String() }),
  failed: Type.Object({ message: Type.String() })
}

// A request names a folder by a key of this object. A path never comes from outside.
const folders = {
  dependencies: fileURLToPath(new URL('../../node_modules', import.meta.url)),
  library: fileURLToPath(new URL('../../lib', import.meta.url))
}
const Folder = Type.Union([Type.Literal('dependencies'), Type.Literal('library')])

interface Job {
  readonly id: string
  readonly folder: Static<typeof Folder>
  state: 'running' | 'complete' | 'failed'
}

/** Milliseconds between two events of a job. More events would not be visible. */
const PERIOD = 100
const AT_ONCE = 8
const REMEMBERED = 100

const progress: FastifyPluginAsyncTypebox = async app => {
  // The jobs end when the server closes. The hook is added before the hub, so it runs before the hub ends its streams.
  const closing = new AbortController()
  app.addHook('preClose', async () => closing.abort())

  // The newest event of a job says all about it, so the history keeps one. A page that is opened in the middle of a job gets it
  // at once. A page that was away when the job ended gets the end.
  await app.register(sse, { events, historySize: 1 })

  const jobs = new Map<string, Job>()

  app.post('/jobs', { schema: { body: Type.Object({ folder: Folder }) } }, async (request, reply) => {
    const job: Job = { id: randomUUID(), folder: request.body.folder, state: 'running' }
    jobs.set(job.id, job)
    if (jobs.size > REMEMBERED) jobs.delete(jobs.keys().next().value!)
    // It is not awaited: the answer says that the job has started.
    run(job).then(
      result => {
        job.state = 'complete'
        app.sse.toChannel(job.id, 'complete', result)
      },
      (error: Error) => {
        if (closing.signal.aborted) return
        job.state = 'failed'
        app.log.error(error, 'a job failed')
        app.sse.toChannel(job.id, 'failed', { message: 'The files could not be read' })
      })
    return reply.code(202).send(job)
  })

  app.get('/jobs', async () => [...jobs.values()])

  app.get('/jobs/:id/stream', { schema: { params: Type.Object({ id: Type.String() }) } }, async (request, reply) => {
    const { id } = request.params
    if (!jobs.has(id)) return reply.code(404).send({ message: 'There is no such job' })
    reply.sse(id, { broadcast: false })
  })

  async function run ({ id, folder }: Job): Promise<Static<typeof events.complete>> {
    const startedAt = performance.now()
    const { signal } = closing
    const entries = await readdir(folders[folder], { recursive: true, withFileTypes: true })
    const files = entries.filter(entry => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))

    const all = createHash('sha256')
    let bytes = 0
    let toldAt = -Infinity
    for (let filesDone = 0; filesDone < files.length; filesDone += AT_ONCE) {
      signal.throwIfAborted()
      const now = performance.now()
      if (now - toldAt >= PERIOD) {
        toldAt = now
        const file = relative(folders[folder], files[filesDone]!)
        app.sse.toChannel(id, 'progress', { files: files.length, filesDone, bytes, file })
      }
      const next = files.slice(filesDone, filesDone + AT_ONCE)
      for (const content of await Promise.all(next.map(path => readFile(path, { signal })))) {
        all.update(content)
        bytes += content.length
      }
    }
    return { files: files.length, bytes, seconds: (performance.now() - startedAt) / 1000, digest: all.digest('hex') }
  }
}

export default progress
