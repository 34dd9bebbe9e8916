// Takes the README's pictures of the examples, in light and dark colours: `npm run pictures`. It starts the examples as
// `npm start` does, and needs Chromium.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import type { Browser, Page } from 'playwright-core'
import { openBrowser } from '../support/chromium.js'
import { root } from '../support/root.js'

const folder = `${root}docs/images/`
const WINDOW = { width: 760, height: 670 }
/** What the two users of the chat say. */
const TALK: ReadonlyArray<readonly [user: number, text: string]> = [
  [0, 'The new build is out.'], [1, 'I see it. 500 streams are open on the dashboard.'], [0, 'Cut my stream and restore it: nothing is missing.']
]

async function enterChat (browser: Browser, address: string, user: string, colorScheme: 'light' | 'dark'): Promise<Page> {
  const page = await browser.newPage({ viewport: WINDOW, colorScheme })
  await page.goto(`${address}/chat`)
  await page.fill('#enter [name=user]', user)
  await page.fill('#enter [name=room]', colorScheme === 'light' ? 'lobby' : 'team')
  await page.keyboard.press('Enter')
  await page.locator('#state', { hasText: 'open' }).waitFor()
  return page
}

async function chat (browser: Browser, address: string, colorScheme: 'light' | 'dark'): Promise<Buffer> {
  const pages = [await enterChat(browser, address, 'ada', colorScheme), await enterChat(browser, address, 'grace', colorScheme)]
  for (const [user, text] of TALK) {
    await pages[user]!.fill('#say [name=text]', text)
    await pages[user]!.keyboard.press('Enter')
    for (const page of pages) await page.locator('#messages li', { hasText: text }).waitFor()
  }
  const [first] = pages
  return await first!.screenshot()
}

async function dashboard (browser: Browser, address: string, colorScheme: 'light' | 'dark'): Promise<Buffer> {
  // The waiting below evaluates text, which the examples' content security policy refuses.
  const page = await browser.newPage({ viewport: WINDOW, colorScheme, bypassCSP: true })
  await page.goto(`${address}/dashboard`)
  await page.click('#more')
  await page.locator('#answer', { hasText: '500' }).waitFor()
  // The charts need some seconds with the streams open.
  await page.waitForFunction('Number(document.querySelector("#clients").textContent.replaceAll(/\\\\D/g, "")) > 500')
  await page.waitForFunction('Number(document.querySelector("#span").textContent) >= 25')
  const picture = await page.screenshot()
  await page.click('#fewer')
  await page.locator('#answer', { hasNotText: '500' }).waitFor()
  return picture
}

/** Both pages beside each other, as windows on a plain background. */
async function compose (browser: Browser, pictures: Buffer[], colorScheme: 'light' | 'dark'): Promise<void> {
  const page = await browser.newPage({ viewport: { width: 2 * WINDOW.width + 72, height: WINDOW.height + 48 } })
  const images = pictures.map(picture => `<img src="data:image/png;base64,${picture.toString('base64')}">`)
  const [back, line] = colorScheme === 'light' ? ['#e7ebf0', '#c5ccd4'] : ['#010409', '#30363d']
  await page.setContent(`<style>
    body { display: flex; gap: 24px; margin: 0; padding: 24px; background: ${back} }
    img { width: ${WINDOW.width}px; height: ${WINDOW.height}px; border-radius: 12px; outline: 1px solid ${line} }
  </style>${images.join('')}`)
  await page.screenshot({ path: `${folder}showcase-${colorScheme}.png` })
}

const server = spawn(process.execPath, ['--import', 'tsx', 'examples/server.ts'], { cwd: root, env: { ...process.env, PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit'] })
const browser = await openBrowser()
try {
  mkdirSync(folder, { recursive: true })
  const address = await new Promise<string>((resolve, reject) => {
    server.stdout.on('data', line => {
      const found = /http:\/\/127\.0\.0\.1:\d+/.exec(String(line))
      if (found !== null) resolve(found[0])
    })
    server.once('exit', () => reject(new Error('the examples did not start')))
  })
  for (const colorScheme of ['light', 'dark'] as const) {
    await compose(browser, [await chat(browser, address, colorScheme), await dashboard(browser, address, colorScheme)], colorScheme)
  }
} finally {
  await browser.close()
  server.kill()
  if (server.exitCode === null) await once(server, 'exit')
}
