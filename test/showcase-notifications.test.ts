import t from 'tap'
import { open, photograph, shows, Visitors, withoutBrowser } from './support/browser.js'
import { startServer } from './support/server-process.js'

t.test('the notification example, in a browser', { skip: withoutBrowser }, async t => {
  const [{ address }, visitors] = await Promise.all([startServer(t, 'examples/server.ts'), Visitors.come(t)])
  const url = `${address}/notifications`

  const ada = await visitors.visitor()
  const first = await open(ada, url)
  await first.fill('#sign-in [name=user]', 'ada')
  await first.keyboard.press('Enter')
  await shows(first, '#state', 'open')
  const second = await open(ada, url)
  await shows(second, '#state', 'open')

  const bob = await visitors.visitor()
  const other = await open(bob, url)
  await other.fill('#sign-in [name=user]', 'bob')
  await other.click('#sign-in button')
  await shows(other, '#state', 'open')

  await t.test('keeps who is signed in where no script reads it', async t => {
    const [cookie] = await ada.cookies()
    t.match(cookie, { name: 'session', httpOnly: true, sameSite: 'Strict' })
    t.equal(await first.evaluate('document.cookie'), '')
  })

  await t.test('shows a notification in every tab of its user, as a toast and in the list, and to nobody else', async t => {
    await other.fill('#notify [name=user]', 'ada')
    await other.fill('#notify [name=message]', 'tea is ready')
    await other.selectOption('#notify [name=type]', 'success')
    await other.click('#notify button')
    await shows(other, '#answer', 'Sent to 2 open streams.')
    for (const page of [first, second]) {
      await shows(page, '.toast.success', 'bob: tea is ready')
      await shows(page, '#list .success', 'bob: tea is ready')
    }
    // What is sent to bob comes behind what he would have got of the other's.
    await first.fill('#notify [name=user]', 'bob')
    await first.fill('#notify [name=message]', '<img src=x onerror=alert(1)>')
    await first.click('#notify button')
    await shows(other, '.toast', 'ada: <img src=x onerror=alert(1)>')
    t.equal(await other.locator('#list li').count(), 1)
    await photograph(t, first, 'notifications')
  })

  await t.test('gives a tab that comes later what was kept, without a toast', async t => {
    const third = await open(ada, url)
    await shows(third, '#list', 'bob: tea is ready')
    t.equal(await third.locator('.toast').count(), 0)
    await third.close()
  })

  await t.test('refuses a stream of another user, and of nobody', async t => {
    t.equal((await ada.request.get(`${url}/users/bob/stream`)).status(), 403)
    t.equal((await (await visitors.visitor()).request.get(`${url}/users/bob/stream`)).status(), 401)
  })

  await t.test('refuses a body that its schema does not admit', async t => {
    const response = await ada.request.post(`${url}/users/bob`, { data: { type: 'shout', message: 'hi' } })
    t.equal(response.status(), 400)
    t.match((await response.json()).message, 'body/type')
  })

  await t.test('sends the state of the system to everybody', async () => {
    for (const page of [first, second, other]) await shows(page, '#clients', '3')
  })

  t.same(visitors.errors, [], 'nothing went wrong in a page')

  await t.test('signs out in every tab', async t => {
    await first.click('#sign-out')
    for (const page of [first, second]) await page.locator('#sign-in').waitFor()
    await shows(other, '#state', 'open')
    for (const error of visitors.errors) t.match(error, '401')
  })
})
