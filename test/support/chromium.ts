// Debian's Chromium. `test/run.ts` starts one for all files. A process that runs without it starts its own. This file must not
// load tap, because tap's time limits would then hold for `test/run.ts` too.
import { chromium, type Browser } from 'playwright-core'
import { pathOf } from './programs.js'

/** The environment variable with the address of the shared browser. */
const SHARED = 'TEST_BROWSER'

const executablePath = pathOf('chromium')
const args = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'
]
const options = { executablePath, args }

/** Starts a browser for all files, and puts its address into their environment. Returns the function that ends it. */
export async function startSharedBrowser (env: NodeJS.ProcessEnv): Promise<() => Promise<void>> {
  if (executablePath === '') return async () => {}
  const server = await chromium.launchServer(options)
  env[SHARED] = server.wsEndpoint()
  return async () => { await server.close() }
}

/** Connects to that browser, or starts one. `close()` ends the connection, or the browser that was started. */
export async function openBrowser (): Promise<Browser> {
  // Without a path, Playwright would look for a browser of its own.
  if (executablePath === '') throw new Error('chromium is not installed')
  const shared = process.env[SHARED]
  return shared === undefined ? await chromium.launch(options) : await chromium.connect(shared)
}

/**
 * Starts a browser with a back/forward cache, which users have and Playwright turns off: a page that was left stays in memory for a
 * while, with its streams.
 */
export async function openCachingBrowser (): Promise<Browser> {
  return await chromium.launch({ ...options, ignoreDefaultArgs: ['--disable-back-forward-cache'] })
}
