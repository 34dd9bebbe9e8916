import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { open, shows, Visitors, withoutBrowser } from '../support/browser.js'
import { selfSigned } from '../support/certificate.js'
import { startServer, stopServer } from '../support/server-process.js'
import type { BrowserContext, Page } from 'playwright-core'

async function signedInTabs (context: BrowserContext, address: string, count: number): Promise<Page[]> {
  await context.request.post(`${address}/notifications/session`, { data: { user: 'ada' } })
  return Promise.all(Array.from({ length: count }, async () => {
    const tab = await open(context, `${address}/notifications`)
    await shows(tab, '#state', 'open')
    return tab
  }))
}

async function getAll (t: Test, tabs: Page[], message: string): Promise<void> {
  const shown = await Promise.all(tabs.map(async tab => {
    await shows(tab, '#list', `ada: ${message}`)
    return tab.locator('#list li').count()
  }))
  t.same(shown, tabs.map(() => 1))
}

t.test('the connections of a browser', { skip: withoutBrowser }, async t => {
  const visitors = await Visitors.come(t)

  await t.test('six tabs over HTTP/1.1, which is what a browser opens to one server', async t => {
    const { address } = await startServer(t, 'examples/server.ts')
    const visitor = await visitors.visitor()
    const tabs = await signedInTabs(visitor, address, 6)
    // A page can't send this: it would wait until one of the six connections is free.
    const response = await visitor.request.post(`${address}/notifications/users/ada`, { data: { type: 'info', message: 'to six' } })
    t.same(await response.json(), { recipients: 6 })
    await getAll(t, tabs, 'to six')
    t.equal(await tabs[0]!.evaluate('performance.getEntriesByType("navigation")[0].nextHopProtocol'), 'http/1.1')
    await visitor.close()
  })

  await t.test('seven tabs over HTTP/2, on one connection', async t => {
    const folder = mkdtempSync(join(tmpdir(), 'sse-tls-'))
    t.teardown(() => rmSync(folder, { recursive: true }))
    const TLS_KEY = join(folder, 'key.pem')
    const TLS_CERT = join(folder, 'cert.pem')
    const { key, cert } = selfSigned()
    writeFileSync(TLS_KEY, key)
    writeFileSync(TLS_CERT, cert)
    const { address } = await startServer(t, 'examples/server.ts', { TLS_KEY, TLS_CERT })
    const visitor = await visitors.visitor({ ignoreHTTPSErrors: true })
    const tabs = await signedInTabs(visitor, address, 7)
    const [tab] = tabs
    t.equal(await tab!.evaluate('performance.getEntriesByType("navigation")[0].nextHopProtocol'), 'h2')
    await tab!.fill('#notify [name=user]', 'ada')
    await tab!.fill('#notify [name=message]', 'to seven')
    await tab!.click('#notify button')
    await shows(tab!, '#answer', 'Sent to 7 open streams.')
    await getAll(t, tabs, 'to seven')
    const [cookie] = await visitor.cookies()
    t.ok(cookie!.secure)
    await visitor.close()
  })

  t.same(visitors.errors, [])

  await t.test('pages recover by themselves from a restart of the server', async t => {
    const JWT_SECRET = 'the same before and after, and long enough for it'
    const server = await startServer(t, 'examples/server.ts', { JWT_SECRET })
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
})
