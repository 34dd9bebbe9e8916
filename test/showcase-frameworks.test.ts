import t from 'tap'
import { open, photograph, shows, until, Visitors, withoutBrowser } from './support/browser.js'
import { startServer } from './support/server-process.js'

t.test('the notifications in React and in Vue, in a browser', { skip: withoutBrowser }, async t => {
  const [{ address }, visitors] = await Promise.all([startServer(t, 'examples/server.ts'), Visitors.come(t)])

  for (const name of ['react', 'vue']) {
    await t.test(name, async t => {
      const visitor = await visitors.visitor()
      const page = await open(visitor, `${address}/${name}`)
      await shows(page, '#app', 'Nobody is signed in.')
      await visitor.request.post(`${address}/notifications/session`, { data: { user: name } })
      await page.reload()
      await shows(page, '.state', 'open')
      await shows(page, 'p[role=status]', 'Nothing yet.')

      /** Returns to how many streams it went. */
      const notify = async (message: string): Promise<number> => {
        const response = await visitor.request.post(`${address}/notifications/users/${name}`, { data: { type: 'info', message } })
        return (await response.json()).recipients
      }
      t.equal(await notify('first'), 1)
      await shows(page, '.list li', `${name}: first`)
      t.equal(await notify('second'), 1)
      await shows(page, '.list li >> nth=0', `${name}: second`)
      await photograph(t, page, name)

      await page.click('text=Unmount')
      await until(async () => await notify('nobody looks') === 0)

      await page.click('text=Mount')
      await shows(page, '.list li', `${name}: first`)
      await shows(page, '.list li >> nth=0', `${name}: nobody looks`)
      t.equal(await notify('third'), 1)
      await shows(page, '.list li >> nth=0', `${name}: third`)
    })
  }

  t.same(visitors.errors, [])
})
