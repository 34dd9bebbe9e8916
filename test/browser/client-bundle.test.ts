// What a page loads for `fastify-sse-hub/client`. It is bundled from the built package, as a user does it.
import { readFile } from 'node:fs/promises'
import { build } from 'esbuild'
import t from 'tap'
import { root } from '../support/root.js'

const LIMIT = 2048

/** Bundles TypeScript as if it were a file in the repository's folder. Returns the bundled files and the size. */
async function bundle (contents: string): Promise<{ files: string[], size: number }> {
  const { metafile, outputFiles } = await build({
    stdin: { contents, resolveDir: root, loader: 'ts', sourcefile: 'entry.ts' },
    absWorkingDir: root,
    // Without this, the paths in tsconfig.json would lead to the source.
    tsconfigRaw: {},
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    metafile: true,
    write: false
  })
  return { files: Object.keys(metafile.inputs).filter(path => path !== 'entry.ts'), size: outputFiles[0]!.contents.length }
}

t.test('the client is one file of less than 2 KB, as large as the documentation says', async t => {
  const { files, size } = await bundle('export { connect } from "fastify-sse-hub/client"')
  t.same(files, ['dist/lib/browser/connect.js'])
  t.comment(`${size} bytes`)
  t.ok(size < LIMIT, `${size} bytes`)
  const told = `${(size / 1000).toFixed(1)} kB`
  for (const page of ['README.md', 'docs/client/connect.md', 'docs/zh-CN/README.md', 'docs/zh-CN/client/connect.md']) {
    t.equal((await readFile(root + page, 'utf8')).split(told).length - 1, 1, `${page} says ${told}`)
  }
})

t.test('nothing of the schemas that type it is in the bundle', async t => {
  const { files } = await bundle(`
import { connect } from 'fastify-sse-hub/client'
import type { events } from './examples/chat/server.js'
connect<typeof events>('/stream', { on: { message ({ text }) { console.log(text) } } })`)
  t.same(files, ['dist/lib/browser/connect.js'])
})
