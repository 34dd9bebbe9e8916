import t, { type Test } from 'tap'
import { open, shows, until, Visitors, withoutBrowser } from './support/browser.js'
import { startServer } from './support/server-process.js'

t.test('a page whose stream is refused', { skip: withoutBrowser }, async t => {
  const [{ address }, visitors] = await Promise.all([startServer(t, 'examples/server.ts'), Visitors.come(t)])
  const visitor = await visitors.visitor()

  const statuses = [0, 503, 502, 0, 503, 0, 503]
  const asked: string[] = []
  await visitor.route('**/stream?*', async route => {
    const status = statuses[asked.length]
    asked.push(route.request().url())
    await (status === 0 ? route.continue() : route.fulfill({ status: status as number }))
  })

  const page = await visitor.newPage()
  // From here on, the page's time moves only when it is told to.
  await page.clock.install({ time: 0 })
  await page.clock.pauseAt(1000)
  await page.goto(`${address}/chat`)
  await page.fill('#enter [name=user]', 'ada')
  await page.keyboard.press('Enter')
  await shows(page, '#state', 'open')

  const other = await open(await visitors.visitor(), `${address}/chat`)
  await other.fill('#enter [name=user]', 'bob')
  await other.keyboard.press('Enter')
  await shows(other, '#state', 'open')
  const say = async (text: string): Promise<void> => {
    await other.fill('#say [name=text]', text)
    await other.keyboard.press('Enter')
    await shows(other, '#messages .own', text)
  }
  await say('one')
  await shows(page, '#messages', 'one')

  /** Cuts the stream, so that the next one is asked for, and refused. */
  async function refuse (): Promise<void> {
    await page.click('#cut')
    await page.click('#cut')
    await shows(page, '#state', 'refused')
  }
  await refuse()
  await say('two')

  /** The page's state changes at once when it asks, and the count when the request is there. */
  async function waits (t: Test, count: number): Promise<void> {
    t.equal(await page.locator('#state').textContent(), 'refused')
    t.equal(asked.length, count)
  }

  await t.test('waits 5 s and asks again', async t => {
    await page.clock.runFor(4900)
    await waits(t, 2)
    await page.clock.runFor(1400)
    await until(() => asked.length === 3)
    await shows(page, '#state', 'refused')
  })

  await t.test('waits longer the next time', async t => {
    await page.clock.runFor(9900)
    await waits(t, 3)
    await page.clock.runFor(2700)
    await shows(page, '#state', 'open')
    t.equal(asked.length, 4)
  })

  await t.test('goes on behind the last event that came', async t => {
    await shows(page, '#messages', 'two')
    t.equal(new Set(asked.slice(1).map(url => new URL(url).searchParams.get('lastEventId'))).size, 1)
    t.same(await page.locator('#messages li:not(.notice)').allTextContents(), ['bobone', 'bobtwo'])
    await shows(page, '#recovery', 'Back, and nothing was lost. Missed and delivered: 1.')
  })

  await t.test('begins with 5 s again, once a stream was open', async t => {
    await refuse()
    await page.clock.runFor(4900)
    await waits(t, 5)
    await page.clock.runFor(1400)
    await shows(page, '#state', 'open')
  })

  await t.test('asks no more when the page closes its stream', async t => {
    await refuse()
    await page.click('#cut')
    await page.clock.runFor(100_000)
    await shows(page, '#state', 'closed')
    t.equal(asked.length, 7)
  })

  t.same(visitors.errors.filter(error => !/50[23]/.test(error)), [])
})
