import t from 'tap'
import { open, photograph, Visitors, withoutBrowser } from './support/browser.js'
import { startServer } from './support/server-process.js'

const NAMELESS = `[...document.querySelectorAll('input, select, button, progress')]
  .filter(field => !field.labels?.length && field.textContent.trim() === '' && !field.hasAttribute('aria-labelledby'))
  .map(field => field.outerHTML)`

t.test('the pages of the examples, in a browser', { skip: withoutBrowser }, async t => {
  const [{ address }, visitors] = await Promise.all([startServer(t, 'examples/server.ts'), Visitors.come(t)])
  const visitor = await visitors.visitor()
  const requests: string[] = []
  visitor.on('request', request => requests.push(request.url()))
  const page = await open(visitor, address)

  await t.test('are all linked from the first one, load, and have a title and a way back', async t => {
    await photograph(t, page, 'index')
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

  t.same(visitors.errors, [])
})
