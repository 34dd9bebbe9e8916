import t from 'tap'
import { open, photograph, shows, until, Visitors, withoutBrowser } from './support/browser.js'
import { startServer } from './support/server-process.js'
import type { Page } from 'playwright-core'

t.test('the dashboard, in a browser', { skip: withoutBrowser }, async t => {
  const [{ address }, visitors] = await Promise.all([startServer(t, 'examples/server.ts'), Visitors.come(t)])
  const visitor = await visitors.visitor()
  const page = await open(visitor, `${address}/dashboard`)

  const figure = async (id: string): Promise<number> => Number((await page.locator(`#${id}`).textContent())!.replaceAll(',', ''))
  /** Pixels in the blue of the line. */
  const drawn = (page: Page, id: string): Promise<number> => page.evaluate(`(() => {
    const canvas = document.querySelector('#${id} canvas')
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    return data.filter((red, i) => i % 4 === 0 && red < 60 && data[i + 2] > 180).length
  })()`)

  await t.test('shows figures of the server and draws them', async t => {
    await shows(page, '#clients', /^1$/)
    for (const id of ['cpu-now', 'memory-now', 'requests-now', 'used', 'available']) await shows(page, `#${id}`, /\d/)
    t.ok(await figure('cores') >= 1)
    for (const id of ['cpu', 'memory', 'requests']) await until(async () => await drawn(page, id) > 0)
  })

  await t.test('counts what is asked and what is refused', async t => {
    const total = await figure('total')
    const failed = await figure('failed')
    for (let i = 0; i < 5; i++) await visitor.request.get(`${address}/nothing-here`)
    await until(async () => await figure('failed') === failed + 5)
    t.ok(await figure('total') >= total + 5)
  })

  await t.test('opens 500 more streams, to which the hub delivers', async t => {
    await page.click('#more')
    await shows(page, '#answer', '500 further streams')
    await shows(page, '#clients', '501')
    // 20 ticks a second to each.
    await until(async () => await figure('deliveries') > 5000)
    t.equal(await figure('slow'), 0)
    await photograph(t, page, 'dashboard')
    await page.click('#fewer')
    await shows(page, '#clients', /^1$/)
  })

  await t.test('gives a page that comes later the past at once', async t => {
    const seconds = await figure('span')
    const later = await open(await visitors.visitor(), `${address}/dashboard`)
    await shows(later, '#clients', /^2$/)
    t.ok(Number(await later.locator('#span').textContent()) >= seconds)
  })

  t.same(visitors.errors, [])
})
