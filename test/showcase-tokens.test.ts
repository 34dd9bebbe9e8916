import t from 'tap'
import { open, photograph, shows, until, Visitors, withoutBrowser } from './support/browser.js'
import { startServer } from './support/server-process.js'

/** In the page, where nothing comes between a word and what follows it. */
const NOTE_LENGTHS = `
  var answer = document.getElementById('answer'), lengths = []
  new MutationObserver(() => lengths.push(answer.textContent.length)).observe(answer, { childList: true })`
const STOP_AT_SOME_WORDS = `
  new MutationObserver(() => { if (answer.textContent.length > 20) document.getElementById('stop').click() })
    .observe(answer, { childList: true })`

t.test('the token stream, in a browser', { skip: withoutBrowser }, async t => {
  const [{ address }, visitors] = await Promise.all([startServer(t, 'examples/server.ts'), Visitors.come(t)])
  const page = await open(await visitors.visitor(), `${address}/tokens`)
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
    await photograph(t, page, 'tokens')
  })

  await t.test('is no longer made once nobody reads it', async t => {
    const answers = async (): Promise<{ making: number, unfinished: number }> => (await page.request.get(`${address}/tokens/answers`)).json()
    await page.evaluate(STOP_AT_SOME_WORDS)
    // A page that gets no time reads too late: then once more.
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

  t.same(visitors.errors, [])
})
