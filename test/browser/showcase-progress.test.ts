import t from 'tap'
import { fits, shows, until, Visitors, withoutBrowser } from '../support/browser.js'
import { examplesServer } from '../support/server-process.js'
import { TcpProxy } from '../support/tcp-proxy.js'
import type { Page } from 'playwright-core'

t.test('the progress example, in a browser', { skip: withoutBrowser }, async t => {
  const [{ address }, visitors] = await Promise.all([examplesServer(), Visitors.come(t)])

  const stateOf = async (id: string): Promise<string | undefined> => {
    const jobs = await (await fetch(`${address}/progress/jobs`)).json() as Array<{ id: string, state: string }>
    return jobs.find(job => job.id === id)?.state
  }
  const done = (page: Page): Promise<number> => page.evaluate('document.getElementById("bar").value')

  let id = ''
  const network = await TcpProxy.start(t, address)
  const [page, later, away] = await Promise.all([visitors.page(), visitors.page(), visitors.page()])
  await page.goto(`${address}/progress`)

  await t.test('shows pages that open in the middle where the job stands', async t => {
    // A job may end before all pages are open. Then the test starts another one.
    let figures: Array<string | null> = []
    for (let running = false; !running; running = await stateOf(id) === 'running') {
      const answer = page.waitForResponse(response => response.request().method() === 'POST')
      await page.click('#start button')
      id = (await (await answer).json()).id
      network.restore()
      await Promise.all([later.goto(`${address}/progress?job=${id}`), away.goto(`${network.address}/progress?job=${id}`)])
      for (const opened of [later, away]) await until(async () => await done(opened) > 0)
      figures = await Promise.all([later, away].map(async opened => opened.locator('#figures').textContent()))
      network.cut()
    }
    for (const text of figures) t.match(text, /^[\d,]+ of [\d,]+ files, [\d.]+ MB$/)
    await shows(away, '#state', 'reconnecting')
  })

  await t.test('tells them the end', async t => {
    // It reads all that is installed. On a busy machine that takes longer than a page should.
    while (await stateOf(id) === 'running') await new Promise(resolve => setTimeout(resolve, 100))
    const ends = await Promise.all([page, later].map(async page => {
      await shows(page, '#end', 'SHA-256')
      t.equal(await done(page), 1)
      await shows(page, '#jobs', 'dependencies, complete')
      return page.locator('#end').textContent()
    }))
    t.match(ends[0], /^Done in [\d.]+ s\. SHA-256 of all: [0-9a-f]{16}…$/)
    t.equal(ends[0], ends[1])
  })

  await t.test('tells it a page that was away when it came', async t => {
    t.equal(await away.locator('#end').textContent(), '')
    // The page must fit, however long the name of the current file is.
    await away.evaluate('document.getElementById("file").textContent = "x".repeat(200)')
    await fits(t, away, 'progress')
    network.restore()
    await shows(away, '#end', await page.locator('#end').textContent() as string)
  })

  await t.test('shows a page opened after the end how it went', async t => {
    await page.selectOption('#start [name=folder]', 'library')
    const before = page.url()
    await page.click('#start button')
    await until(() => page.url() !== before)
    await shows(page, '#end', 'SHA-256')
    await later.goto(page.url())
    await shows(later, '#end', await page.locator('#end').textContent() as string)
    t.equal(await later.locator('#state').textContent(), 'ended')
  })

  // The browser logs what it could not load while the network was cut.
  t.same(visitors.errors.filter(error => !error.includes('net::ERR_')), [])

  await t.test('says so where a job is not known', async () => {
    await page.goto(`${address}/progress?job=nothing`)
    await shows(page, '#end', 'There is no such job any more.')
  })
})
