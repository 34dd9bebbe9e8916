import t from 'tap'
import { open, fits, shows, until, Visitors, withoutBrowser } from '../support/browser.js'
import { examplesServer } from '../support/server-process.js'

const NAMELESS = `[...document.querySelectorAll('input, select, button, progress')]
  .filter(field => !field.labels?.length && field.textContent.trim() === '' && !field.hasAttribute('aria-labelledby'))
  .map(field => field.outerHTML)`

/** These run in the page. Outside of it, the next word might come before the test looks. */
const NOTE_LENGTHS = `
  var answer = document.getElementById('answer'), lengths = []
  new MutationObserver(() => lengths.push(answer.textContent.length)).observe(answer, { childList: true })`
const STOP_AT_SOME_WORDS = `
  new MutationObserver(() => { if (answer.textContent.length > 20) document.getElementById('stop').click() })
    .observe(answer, { childList: true })`

t.test('the pages of the examples, in a browser', { skip: withoutBrowser }, async t => {
  const [{ address }, visitors] = await Promise.all([examplesServer(), Visitors.come(t)])
  const visitor = await visitors.visitor()
  const requests: string[] = []
  visitor.on('request', request => requests.push(request.url()))
  const page = await open(visitor, address)

  await t.test('are all linked from the first one, load, and have a title and a way back', async t => {
    await fits(t, page, 'index')
    const links = await Promise.all((await page.locator('.examples a').all()).map(link => link.getAttribute('href')))
    t.same(links, ['/notifications', '/chat', '/dashboard', '/progress', '/tokens', '/react', '/vue'])
    const example = await visitor.newPage()
    for (const link of links) {
      await example.goto(`${address}${link}`)
      t.match(await example.title(), / – fastify-sse-hub$/)
      t.equal(await example.locator('h1').count(), 1)
      t.same(await example.evaluate(NAMELESS), [], `every field and button of ${link} has a name`)
      t.equal(await example.locator('nav a').getAttribute('href'), '/')
    }
    await example.click('nav a')
    await example.waitForURL(`${address}/`)
  })

  await t.test('have a strict content security policy and load nothing from elsewhere', async t => {
    const response = await fetch(`${address}/chat`)
    t.match(response.headers.get('content-security-policy'), "default-src 'none';script-src 'self';style-src 'self'")
    t.same(requests.filter(url => !url.startsWith(address)), [])
  })

  await t.test('the dashboard', async t => {
    await page.goto(`${address}/dashboard`)

    const figure = async (id: string): Promise<number> => Number((await page.locator(`#${id}`).textContent())!.replaceAll(',', ''))
    /** How many pixels have the blue of the line, in a light or a dark page. */
    const drawn = (id: string): Promise<number> => page.evaluate(`(() => {
      const canvas = document.querySelector('#${id} canvas')
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
      return data.filter((red, i) => i % 4 === 0 && data[i + 2] - red > 100).length
    })()`)

    await t.test('shows figures of the server and draws them', async t => {
      await shows(page, '#clients', /^1$/)
      for (const id of ['cpu-now', 'memory-now', 'requests-now', 'used', 'available']) await shows(page, `#${id}`, /\d/)
      t.ok(await figure('cores') >= 1)
      for (const id of ['cpu', 'memory', 'requests']) await until(async () => await drawn(id) > 0)
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
      // One page gets only one event in a second, so the others get events too.
      await until(async () => await figure('deliveries') > 500)
      t.equal(await figure('slow'), 0)
      await fits(t, page, 'dashboard')
      await page.click('#fewer')
      await shows(page, '#clients', /^1$/)
    })

    await t.test('gives a page that comes later the past at once', async t => {
      const seconds = await figure('span')
      const later = await open(visitor, `${address}/dashboard`)
      await shows(later, '#clients', /^2$/)
      t.ok(Number(await later.locator('#span').textContent()) >= seconds)
    })
  })

  await t.test('the token stream', async t => {
    await page.goto(`${address}/tokens`)
    const answer = async (): Promise<string> => await page.locator('#answer').textContent() as string
    let whole = ''

    await t.test('shows an answer word by word', async t => {
      await page.evaluate(NOTE_LENGTHS)
      await page.focus('#ask [name=question]')
      await page.keyboard.press('Enter')
      await shows(page, '#state', / words\.$/)
      whole = await answer()
      const words = whole.match(/\S+\s*/g)!
      t.equal(await page.locator('#state').textContent(), `${words.length} words.`)
      t.same(await page.evaluate('lengths.filter(length => length > 0)'), words.map((_word, n) => words.slice(0, n + 1).join('').length))
      await fits(t, page, 'tokens')
    })

    await t.test('is no longer made once nobody reads it', async t => {
      const answers = async (): Promise<{ making: number, unfinished: number }> => (await page.request.get(`${address}/tokens/answers`)).json()
      await page.evaluate(STOP_AT_SOME_WORDS)
      // On a busy machine, the page may stop only when the answer is complete. Then the test asks again.
      await until(async () => {
        await page.click('#send')
        await shows(page, '#state', /./)
        await until(async () => (await answers()).making === 0)
        return (await answers()).unfinished > 0
      })
      await shows(page, '#state', 'Stopped.')
      t.ok(whole.startsWith(await answer()))
      t.ok((await answer()).length < whole.length)
      t.ok(await page.locator('#send').isEnabled())
    })
  })

  t.same(visitors.errors, [])
})
