import t from 'tap'
import { open, fits, shows, until, Visitors, withoutBrowser } from '../support/browser.js'
import { examplesServer } from '../support/server-process.js'

t.test('the notification example, in a browser', { skip: withoutBrowser }, async t => {
  const [{ address }, visitors] = await Promise.all([examplesServer(), Visitors.come(t)])
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
    // Toasts do not stay, so the test looks for them before they are there.
    const toasts = Promise.all([first, second].map(page => shows(page, '.toast.success', 'bob: tea is ready')))
    await other.click('#notify button')
    await toasts
    await shows(other, '#answer', 'Sent to 2 open streams.')
    for (const page of [first, second]) await shows(page, '#list .success', 'bob: tea is ready')
    // If bob got the notification for ada by mistake, it would come before this one.
    await first.fill('#notify [name=user]', 'bob')
    await first.fill('#notify [name=message]', '<img src=x onerror=alert(1)>')
    await first.click('#notify button')
    await shows(other, '#list', 'ada: <img src=x onerror=alert(1)>')
    t.equal(await other.locator('#list li').count(), 1)
    await fits(t, first, 'notifications')
  })

  await t.test('gives a tab that comes later what was kept, without a toast', async t => {
    const third = await open(ada, url)
    await shows(third, '#list', 'bob: tea is ready')
    t.equal(await third.locator('.toast').count(), 0)
    await third.close()
  })

  await t.test('refuses a stream of another user, and of nobody', async t => {
    t.equal((await ada.request.get(`${url}/users/bob/stream`)).status(), 403)
    t.equal((await fetch(`${url}/users/bob/stream`)).status, 401)
  })

  await t.test('refuses a body that its schema does not admit', async t => {
    const response = await ada.request.post(`${url}/users/bob`, { data: { type: 'shout', message: 'hi' } })
    t.equal(response.status(), 400)
    t.match((await response.json()).message, 'body/type')
  })

  await t.test('sends the state of the system to everybody', async () => {
    for (const page of [first, second, other]) await shows(page, '#clients', '3')
  })

  const frameworks = ['react', 'vue']
  const page = await ada.newPage()
  for (const name of frameworks) {
    await t.test(`comes to a list in ${name}, which closes its stream when it goes`, async t => {
      /** Returns how many streams got it. Two of them are those of the other tabs. */
      const notify = async (message: string): Promise<number> => {
        const response = await ada.request.post(`${url}/users/ada`, { data: { type: 'info', message } })
        return (await response.json()).recipients
      }
      await page.goto(`${address}/${name}`)
      await shows(page, '.state', 'open')
      await shows(page, '.list .success', 'bob: tea is ready')
      t.equal(await notify(`to ${name}`), 3)
      await shows(page, '.list li >> nth=0', `ada: to ${name}`)
      await fits(t, page, name)

      await page.click('text=Unmount')
      await until(async () => await notify('nobody looks') === 2)

      await page.click('text=Mount')
      await shows(page, '.list li >> nth=0', 'ada: nobody looks')
      t.equal(await notify('back'), 3)
      await shows(page, '.list li >> nth=0', 'ada: back')
      t.equal(await page.locator('p[role=status]').textContent(), `${await page.locator('.list li').count()} in all, the newest first.`)
    })
  }

  t.same(visitors.errors, [], 'nothing went wrong in a page')

  await t.test('signs out in every tab', async t => {
    await first.click('#sign-out')
    for (const page of [first, second]) await page.locator('#sign-in').waitFor()
    await shows(other, '#state', 'open')
    for (const name of frameworks) {
      await page.goto(`${address}/${name}`)
      await shows(page, '#app', 'Nobody is signed in.')
    }
    for (const error of visitors.errors) t.match(error, '401')
  })
})
