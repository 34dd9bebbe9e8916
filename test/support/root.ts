// The repository's folder, wherever a test was compiled to.
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('.', import.meta.resolve('fastify-sse-hub/package.json')))
