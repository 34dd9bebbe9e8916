import t from 'tap'
import { open, photograph, shows, until, Visitors, withoutBrowser } from './support/browser.js'
import { startServer } from './support/server-process.js'

t.test('the token stream, in a browser', { skip: withoutBrowser }, async t => {
  const [{ address }, visitors] = await Promise.all([startServer(t, 'examples/server.ts'), Visitors.come(t)])
  const page = await open(await visitors.visitor(), `${address}/tokens`)
  const length = (): Promise<number> => page.evaluate('document.getElementById("answer").textContent.length')
  const longerThan = (least: number): Promise<void> => until(async () => await length() > least)
  const making = async (): Promise<unknown> => (await fetch(`${address}/tokens/making`)).json()

  await t.test('shows an answer word by word', async t => {
    await page.focus('#ask [name=question]')
    await page.keyboard.press('Enter')
    const seen = []
    for (let i = 0; i < 3; i++) {
      await longerThan(seen.at(-1) ?? 0)
      seen.push(await length())
    }
    await photograph(t, page, 'tokens')
    await shows(page, '#state', / words\.$/)
    const answer = await page.locator('#answer').textContent() as string
    t.ok(seen.every(part => part < answer.length), 'parts of it were shown before it was there')
    t.equal(await page.locator('#state').textContent(), `${answer.trim().split(/\s+/).length} words.`)
  })

  await t.test('is no longer made once nobody reads it', async t => {
    await page.fill('#ask [name=question]', 'What does the hub do with history?')
    await page.click('#send')
    await longerThan(20)
    t.same(await making(), { answers: 1 })
    await page.click('#stop')
    await shows(page, '#state', 'Stopped.')
    await until(async () => (await making() as { answers: number }).answers === 0)
    t.ok(await page.locator('#send').isEnabled())
  })

  t.same(visitors.errors, [])
})
