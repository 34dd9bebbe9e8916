// Compiles lib, types and test to build/ with esbuild, in a second. It checks no types: `npm run typecheck` does that.
import { readdirSync, rmSync } from 'node:fs'
import { build } from 'esbuild'

const OTHERS = /^(?:types\/test|test\/(?:consumers|versions|bench\/(?:node_modules|build)))\//

rmSync('build', { recursive: true, force: true })
await build({
  entryPoints: ['lib', 'types', 'test']
    .flatMap(folder => readdirSync(folder, { recursive: true }).map(file => `${folder}/${file}`))
    .filter(file => /(?<!\.d)\.ts$/.test(file) && !OTHERS.test(file)),
  outbase: '.',
  outdir: 'build',
  format: 'esm',
  platform: 'node',
  target: 'node20',
  sourcemap: true
})
