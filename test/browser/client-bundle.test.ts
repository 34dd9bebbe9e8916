// What a page loads for `fastify-sse-hub/client`. It is bundled from the built package, as a user does it.
import { readFile } from 'node:fs/promises'
import { build } from 'esbuild'
import t from 'tap'
import { root } from '../support/root.js'

const LIMIT = 2048

t.test('the client is one file of less than 2 KB, as large as the documentation says', async t => {
  const { metafile, outputFiles } = await build({
    stdin: { contents: 'export { connect } from "fastify-sse-hub/client"', resolveDir: root, sourcefile: 'entry.js' },
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
  t.same(Object.keys(metafile.inputs).sort(), ['dist/lib/browser/connect.js', 'entry.js'])
  const size = outputFiles[0]!.contents.length
  t.comment(`${size} bytes`)
  t.ok(size < LIMIT, `${size} bytes`)
  const told = `${(size / 1000).toFixed(1)} kB`
  for (const page of ['README.md', 'docs/client/connect.md', 'docs/zh-CN/README.md', 'docs/zh-CN/client/connect.md']) {
    t.equal((await readFile(root + page, 'utf8')).split(told).length - 1, 1, `${page} says ${told}`)
  }
})
