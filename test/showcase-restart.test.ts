import t from 'tap'
import { open, shows, Visitors, withoutBrowser } from './support/browser.js'
import { startServer, stopServer } from './support/server-process.js'

t.test('pages recover by themselves from a restart of the server', { skip: withoutBrowser }, async t => {
  const JWT_SECRET = 'the same before and after, and long enough for it'
  const [server, visitors] = await Promise.all([startServer(t, 'examples/server.ts', { JWT_SECRET }), Visitors.come(t)])
  const { address } = server
  const visitor = await visitors.visitor()

  const chat = await open(visitor, `${address}/chat`)
  await chat.fill('#enter [name=user]', 'ada')
  await chat.keyboard.press('Enter')
  await shows(chat, '#state', 'open')
  await chat.fill('#say [name=text]', 'before')
  await chat.keyboard.press('Enter')
  await shows(chat, '#messages .own', 'before')

  const notifications = await open(visitor, `${address}/notifications`)
  await notifications.fill('#sign-in [name=user]', 'ada')
  await notifications.keyboard.press('Enter')
  await shows(notifications, '#state', 'open')

  const notify = async (message: string): Promise<void> => {
    await notifications.fill('#notify [name=message]', message)
    await notifications.click('#notify button')
    await shows(notifications, '#list li', `ada: ${message}`)
  }
  await notify('before')
  const frameworks = await Promise.all(['react', 'vue'].map(name => open(visitor, `${address}/${name}`)))
  for (const page of frameworks) await shows(page, '.list li', 'ada: before')

  await visitor.request.post(`${address}/progress/jobs`, { data: { folder: 'dependencies' } })
  t.equal(await stopServer(server), 0, 'the server ends by itself, with streams open and a job that runs')
  const pages = [chat, notifications, ...frameworks]
  for (const page of pages) await shows(page, '.state', 'reconnecting')

  await startServer(t, 'examples/server.ts', { JWT_SECRET, PORT: new URL(address).port })
  for (const page of pages) await shows(page, '.state', 'open')

  await chat.fill('#say [name=text]', 'after')
  await chat.keyboard.press('Enter')
  await shows(chat, '#messages .own', 'after')
  t.same(await chat.locator('#messages li:not(.notice)').allTextContents(), ['adaafter'], 'what the server forgot is gone')
  await shows(chat, '#recovery', 'Something is lost.')
  await shows(chat, '#users', 'ada')

  await notify('after')
  for (const page of [notifications, ...frameworks]) {
    await shows(page, '.list li', 'ada: after')
    t.equal(await page.locator('.list li').count(), 1)
  }

  t.same(visitors.errors.filter(error => !error.includes('net::ERR_')), [])
})
