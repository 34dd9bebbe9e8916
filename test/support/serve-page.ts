// A small page, for tests of a client that runs in a browser.
import type { FastifyInstance } from 'fastify'

/** Serves a page and the scripts that it loads. */
export function servePage (app: FastifyInstance, scripts: readonly string[], body = '<body>'): void {
  app.get('/', async (_request, reply) => reply.type('text/html').send(
    `<!doctype html><html lang="en"><meta charset="utf-8"><title>a client</title>${scripts.map((_script, n) => `<script src="/${n}.js"></script>`).join('')}${body}`
  ))
  for (const [n, script] of scripts.entries()) app.get(`/${n}.js`, async (_request, reply) => reply.type('text/javascript').send(script))
}
