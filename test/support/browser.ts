// Visitors of pages in a real browser. Each has its own cookies and its own cache.
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core'
import rootTest, { type Test } from 'tap'
import { openBrowser } from './chromium.js'
import { without } from './programs.js'
import { root } from './root.js'

/** For a test's options. */
export const withoutBrowser = without('chromium')

/** In milliseconds. It is long enough for a busy machine, and shorter than the time limit of a test. */
const PATIENCE = 30_000
const pictures = `${root}test/screenshots/`

let browser: Promise<Browser> | undefined

/** The browser of all tests of this process. It is closed when the last of them has ended. */
async function theBrowser (): Promise<Browser> {
  const opened = await openBrowser()
  rootTest.teardown(() => opened.close())
  return opened
}

export class Visitors {
  /** The errors that pages wrote to their consoles, and those that were thrown in them. */
  readonly errors: string[] = []
  readonly #browser: Browser
  readonly #contexts: BrowserContext[] = []

  private constructor (browser: Browser) {
    this.#browser = browser
  }

  /**
   * All pages are closed when the test ends.
   * @param own a browser for these visitors alone, in place of the one of all tests. It is closed when the test ends
   */
  static async come (t: Test, own?: Browser): Promise<Visitors> {
    if (own !== undefined) t.teardown(() => own.close())
    const visitors = new Visitors(own ?? await (browser ??= theBrowser()))
    t.teardown(() => Promise.all(visitors.#contexts.map(context => context.close())))
    return visitors
  }

  /** A new visitor, with new cookies. */
  async visitor (options: BrowserContextOptions = {}): Promise<BrowserContext> {
    const context = await this.#browser.newContext(options)
    this.#contexts.push(context)
    context.setDefaultTimeout(PATIENCE)
    context.on('page', page => {
      page.on('console', message => { if (message.type() === 'error') this.errors.push(message.text()) })
      page.on('pageerror', error => this.errors.push(error.message))
    })
    return context
  }

  /** A page of a new visitor, in its own window. A page in a background tab may stand still. */
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
 * Checks that nothing on a page is wider than the screen: on a wide screen with light colors, and on a narrow one with dark
 * colors. If PICTURES is set, it takes pictures for people to look at.
 */
export async function fits (t: Test, page: Page, name: string): Promise<void> {
  for (const [kind, width, height, colorScheme] of [['wide', 1280, 900, 'light'], ['narrow', 390, 844, 'dark']] as const) {
    await page.setViewportSize({ width, height })
    await page.emulateMedia({ colorScheme })
    if (process.env.PICTURES) await page.screenshot({ path: `${pictures}${name}-${kind}.png`, fullPage: true })
    // The page gets its new layout a little later.
    await until(() => page.evaluate<boolean>('document.documentElement.scrollWidth <= document.documentElement.clientWidth'))
    t.pass(`${name} fits a ${kind} screen`)
  }
}

/** Asks again and again until a condition holds. It is for what neither the page's text nor an event tells. */
export async function until (holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE
  while (!await holds()) {
    if (performance.now() > deadline) throw new Error(`${PATIENCE} ms, and this did not come to hold: ${holds.toString()}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
