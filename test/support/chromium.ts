// Debian's Chromium: one for all files, which `test/run.ts` starts, or one of a process's own. Knows nothing of tap, whose
// limits would hold for `test/run.ts` too.
import { chromium, type Browser } from 'playwright-core'
import { pathOf } from './programs.js'

/** Where the browser is that all files share. */
const SHARED = 'TEST_BROWSER'

const executablePath = pathOf('chromium')
const args = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'
]

/** Starts a browser for all files, and tells them by their environment. Returns what ends it. */
export async function startSharedBrowser (env: NodeJS.ProcessEnv): Promise<() => Promise<void>> {
  if (executablePath === '') return async () => {}
  const server = await chromium.launchServer({ executablePath, args })
  env[SHARED] = server.wsEndpoint()
  return async () => { await server.close() }
}

/** Connects to that browser, or starts one. It ends, or is left, with `close()`. */
export async function openBrowser (): Promise<Browser> {
  // Playwright would look for a browser of its own.
  if (executablePath === '') throw new Error('chromium is not installed')
  const shared = process.env[SHARED]
  return shared === undefined ? await chromium.launch({ executablePath, args }) : await chromium.connect(shared)
}
