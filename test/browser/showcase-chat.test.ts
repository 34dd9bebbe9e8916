import { once } from 'node:events'
import { EventSource } from 'eventsource'
import t, { type Test } from 'tap'
import { fits, shows, until, Visitors, withoutBrowser } from '../support/browser.js'
import { examplesServer } from '../support/server-process.js'
import type { Page } from 'playwright-core'

t.test('the chat, in a browser', { skip: withoutBrowser }, async t => {
  const [{ address }, visitors] = await Promise.all([examplesServer(), Visitors.come(t)])

  async function enter (page: Page, user: string, room = 'lobby'): Promise<Page> {
    await page.goto(`${address}/chat`)
    await page.fill('#enter [name=user]', user)
    await page.fill('#enter [name=room]', room)
    await page.keyboard.press('Enter')
    await shows(page, '#state', 'open')
    return page
  }
  async function say (page: Page, text: string): Promise<void> {
    await page.fill('#say [name=text]', text)
    await page.keyboard.press('Enter')
    await shows(page, '#messages .own >> nth=-1', text)
  }
  const said = (page: Page): Promise<string[]> => page.locator('#messages li:not(.notice)').allTextContents()
  const online = (page: Page): Promise<string[]> => page.locator('#users li').allTextContents()

  const ada = await enter(await visitors.page(), 'ada')
  await say(ada, 'anyone here?')
  const bob = await enter(await visitors.page(), 'bob')

  await t.test('shows who enters what was said, and everybody who is there', async t => {
    await shows(bob, '#messages', 'anyone here?')
    await shows(ada, '#messages .notice', 'bob is here')
    for (const page of [ada, bob]) {
      await shows(page, '#users', 'bob')
      t.same(await online(page), ['ada', 'bob'])
    }
    const response = await fetch(`${address}/chat/rooms/lobby/users`)
    t.same(await response.json(), { users: ['ada', 'bob'] })
  })

  await t.test('brings a message to the others, and shows it to its author once', async t => {
    await say(bob, 'me')
    await shows(ada, '#messages', 'me')
    await say(ada, 'so there are two')
    await shows(bob, '#messages', 'so there are two')
    for (const page of [ada, bob]) t.same(await said(page), ['adaanyone here?', 'bobme', 'adaso there are two'])
    await fits(t, ada, 'chat')
  })

  await t.test('leaves the stream of who speaks out', async t => {
    const [eve, mallory] = await Promise.all(['eve', 'mallory'].map(async user => {
      const source = new EventSource(`${address}/chat/rooms/cellar/stream?user=${user}`)
      t.teardown(() => source.close())
      const received: string[] = []
      source.addEventListener('message', ({ data }) => received.push(JSON.parse(data).text))
      const [{ data }] = await once(source as never, 'sse:open') as [MessageEvent]
      return { source, received, clientId: JSON.parse(data).clientId as string }
    }))
    const say = (clientId: string, text: string): Promise<Response> => fetch(`${address}/chat/rooms/cellar/messages`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ clientId, text })
    })
    const both = Promise.all([eve!, mallory!].map(({ source }) => once(source as never, 'message')))
    await say(eve!.clientId, 'from eve')
    await say(mallory!.clientId, 'from mallory')
    await both
    t.same(eve!.received, ['from mallory'])
    t.same(mallory!.received, ['from eve'])
  })

  await t.test('says that a user left when the last tab is gone', async t => {
    const tab = new EventSource(`${address}/chat/rooms/lobby/stream?user=bob`)
    await once(tab as never, 'sse:open')
    await shows(ada, '#messages li:last-child', 'bob is here')
    tab.close()
    await say(bob, 'in one tab still')
    await shows(ada, '#messages', 'in one tab still')
    t.equal(await ada.locator('#messages .notice', { hasText: 'bob left' }).count(), 0)
    t.same(await online(ada), ['ada', 'bob'])
  })

  await t.test('keeps rooms apart', async t => {
    const carol = await enter(await visitors.page(), 'carol', 'a room/with ä slash')
    await say(carol, 'nobody here')
    t.same(await said(carol), ['carolnobody here'])
    t.same(await online(ada), ['ada', 'bob'])
    await carol.context().close()
  })

  await t.test('loses nothing while the stream is cut', async t => {
    await say(bob, 'I am going through a tunnel')
    await bob.click('#cut')
    await shows(bob, '#state', 'closed')
    await shows(ada, '#messages .notice', 'bob left')
    t.same(await online(ada), ['ada'])
    for (const text of ['one', 'two', 'three']) await say(ada, text)
    t.equal((await said(bob)).at(-1), 'bobI am going through a tunnel')
    await bob.click('#cut')
    await shows(bob, '#recovery', 'Back, and nothing was lost. Missed and delivered: 3.')
    t.same(await said(bob), ['adaanyone here?', 'bobme', 'adaso there are two', 'bobin one tab still', 'bobI am going through a tunnel', 'adaone', 'adatwo', 'adathree'])
    await say(bob, 'back')
    await shows(ada, '#messages', 'back')
    t.same(await said(ada), await said(bob))
  })

  await t.test('says so where a stream is cut and one speaks', async () => {
    await bob.click('#cut')
    await shows(ada, '#messages .notice >> nth=-1', 'bob left')
    await bob.fill('#say [name=text]', 'hello?')
    await bob.keyboard.press('Enter')
    await shows(bob, '#problem', 'Your stream is not open')
    await bob.click('#cut')
    await shows(bob, '#state', 'open')
  })

  await t.test('tells when somebody leaves', async t => {
    await bob.context().close()
    await shows(ada, '#users', /^ada$/)
    t.same(await online(ada), ['ada'])
  })

  await t.test('a page whose stream is refused', async t => {
    const visitor = await visitors.visitor()
    const statuses = [0, 503, 502, 0, 503, 0, 503]
    const asked: string[] = []
    await visitor.route('**/stream?*', async route => {
      const status = statuses[asked.length]
      asked.push(route.request().url())
      await (status === 0 ? route.continue() : route.fulfill({ status: status as number }))
    })
    const page = await visitor.newPage()
    // From here on, the page's clock moves only when the test moves it.
    await page.clock.install({ time: 0 })
    await page.clock.pauseAt(100_000)
    await enter(page, 'dave')
    await shows(page, '#users', 'dave')
    const before = await said(page)

    /** Cuts the stream and asks for the next one, which is refused. */
    async function refuse (): Promise<void> {
      await page.click('#cut')
      await page.click('#cut')
      await shows(page, '#state', 'refused')
    }
    /** Checks that the page still waits. When it asks, its state changes at once, and the count when the request has come. */
    async function waits (t: Test, count: number): Promise<void> {
      t.equal(await page.locator('#state').textContent(), 'refused')
      t.equal(asked.length, count)
    }

    await t.test('waits for at most 5 s, and at least half of that, and asks again', async t => {
      await refuse()
      await say(ada, 'nobody hears me')
      await page.clock.runFor(2400)
      await waits(t, 2)
      await page.clock.runFor(2700)
      await until(() => asked.length === 3)
      await shows(page, '#state', 'refused')
    })

    await t.test('waits longer the next time', async t => {
      await page.clock.runFor(4900)
      await waits(t, 3)
      await page.clock.runFor(5200)
      await shows(page, '#state', 'open')
      t.equal(asked.length, 4)
    })

    await t.test('goes on behind the last event that came', async t => {
      await shows(page, '#recovery', 'Back, and nothing was lost. Missed and delivered: 1.')
      t.same(await said(page), [...before, 'adanobody hears me'])
      t.equal(new Set(asked.slice(1).map(url => new URL(url).searchParams.get('lastEventId'))).size, 1)
    })

    await t.test('begins with 5 s again, once a stream was open', async t => {
      await refuse()
      await page.clock.runFor(2400)
      await waits(t, 5)
      await page.clock.runFor(2700)
      await shows(page, '#state', 'open')
    })

    await t.test('asks no more when the page closes its stream', async t => {
      await refuse()
      await page.click('#cut')
      await page.clock.runFor(100_000)
      await shows(page, '#state', 'closed')
      t.equal(asked.length, 7)
    })
  })

  // The browser logs what was refused.
  t.same(visitors.errors.filter(error => !/409|50[23]/.test(error)), [])
})
