// Serves the pages of the examples. HTML and CSS are served as they are. Scripts are bundled once, when the server starts.
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { FastifyInstance } from 'fastify'

const folder = fileURLToPath(new URL('.', import.meta.url))
const examples = ['notifications', 'chat', 'dashboard', 'progress', 'tokens', 'react', 'vue']
const types = { '.js': 'text/javascript', '.css': 'text/css' }

export default async function pages (app: FastifyInstance): Promise<void> {
  const { outputFiles } = await build({
    entryPoints: examples.map(name => `./${name}/page`),
    absWorkingDir: folder,
    outdir: folder,
    outbase: folder,
    write: false,
    bundle: true,
    format: 'esm',
    target: 'es2022',
    jsx: 'automatic',
    minify: true,
    define: {
      'process.env.NODE_ENV': '"production"',
      __VUE_OPTIONS_API__: 'false',
      __VUE_PROD_DEVTOOLS__: 'false',
      __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'false'
    }
  })
  for (const { path, contents } of outputFiles) {
    const url = '/' + path.slice(folder.length)
    const type = path.endsWith('.css') ? types['.css'] : types['.js']
    app.get(url, async (_request, reply) => reply.type(type).send(Buffer.from(contents)))
  }

  serve('/', 'index.html', 'text/html')
  serve('/style.css', 'style.css', 'text/css')
  serve('/icon.svg', 'icon.svg', 'image/svg+xml')
  for (const name of examples) serve(`/${name}`, `${name}/page.html`, 'text/html')

  // The file is read at each request, so that an edited page needs only a reload.
  function serve (url: string, file: string, type: string): void {
    app.get(url, async (_request, reply) => reply.type(`${type}; charset=utf-8`).send(await readFile(folder + file)))
  }
}
