// The path of the repository. It is the same for compiled and source tests.
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('.', import.meta.resolve('fastify-sse-hub/package.json')))
