// A real browser: Debian's Chromium, with a fresh profile each time.
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from 'playwright-core'
import type { Test } from 'tap'
import { pathOf, without } from './programs.js'
import { root } from './root.js'

const executablePath = pathOf('chromium')

/** For a test's options. */
export const withoutBrowser = without('chromium')

const args = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'
]
/** In milliseconds: long enough for a busy machine; what is missing fails well before the test's own limit. */
const PATIENCE = 30_000
const pictures = `${root}test/screenshots/`

export class Visitors {
  /** What pages wrote to their consoles as errors, and what was thrown in them. */
  readonly errors: string[] = []
  readonly #browser: Browser

  private constructor (browser: Browser) {
    this.#browser = browser
  }

  /** Starts the browser; it ends with the test. */
  static async come (t: Test): Promise<Visitors> {
    // Playwright would look for a browser of its own.
    if (executablePath === '') throw new Error('chromium is not installed')
    const browser = await chromium.launch({ executablePath, args })
    t.teardown(() => browser.close())
    return new Visitors(browser)
  }

  /** Somebody else: with cookies of their own. */
  async visitor (options: BrowserContextOptions = {}): Promise<BrowserContext> {
    const context = await this.#browser.newContext(options)
    context.setDefaultTimeout(PATIENCE)
    context.on('page', page => {
      page.on('console', message => { if (message.type() === 'error') this.errors.push(message.text()) })
      page.on('pageerror', error => this.errors.push(error.message))
    })
    return context
  }

  /** A page of somebody else, in a window of its own: one in a tab behind another may stand still. */
  async page (): Promise<Page> {
    return (await this.visitor()).newPage()
  }
}

export async function open (context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage()
  await page.goto(url)
  return page
}

/** Waits until an element shows this text. */
export async function shows (page: Page, selector: string, text: string | RegExp): Promise<void> {
  const found = page.locator(selector)
  try {
    await found.filter({ hasText: text }).first().waitFor()
  } catch (cause) {
    throw new Error(`${selector} shows ${JSON.stringify(await found.allTextContents())}, not ${String(text)}`, { cause })
  }
}

/**
 * Shows a page on a desktop in the light and on a phone in the dark: nothing may be wider than these. With PICTURES set
 * it takes pictures, to be looked at.
 */
export async function fits (t: Test, page: Page, name: string): Promise<void> {
  for (const [kind, width, height, colorScheme] of [['wide', 1280, 900, 'light'], ['narrow', 390, 844, 'dark']] as const) {
    await page.setViewportSize({ width, height })
    await page.emulateMedia({ colorScheme })
    if (process.env.PICTURES) await page.screenshot({ path: `${pictures}${name}-${kind}.png`, fullPage: true })
    // What is drawn follows the size a little later.
    await until(() => page.evaluate<boolean>('document.documentElement.scrollWidth <= document.documentElement.clientWidth'))
    t.pass(`${name} fits a ${kind} screen`)
  }
}

/** Asks again and again, for what neither the page's text nor an event tells. */
export async function until (holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE
  while (!await holds()) {
    if (performance.now() > deadline) throw new Error(`${PATIENCE} ms, and this did not come to hold: ${holds.toString()}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
