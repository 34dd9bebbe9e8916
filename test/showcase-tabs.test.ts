import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { open, shows, Visitors, withoutBrowser } from './support/browser.js'
import { selfSigned } from './support/certificate.js'
import { startServer } from './support/server-process.js'
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
    await shows(tab, '.toast', `ada: ${message}`)
    return tab.locator('#list li').count()
  }))
  t.same(shown, tabs.map(() => 1))
}

t.test('many tabs of one browser', { skip: withoutBrowser }, async t => {
  const visitors = await Visitors.come(t)

  await t.test('six over HTTP/1.1, which is what a browser opens to one server', async t => {
    const { address } = await startServer(t, 'examples/server.ts')
    const visitor = await visitors.visitor()
    const tabs = await signedInTabs(visitor, address, 6)
    // Not from a page: it would wait for one of the six connections.
    const response = await visitor.request.post(`${address}/notifications/users/ada`, { data: { type: 'info', message: 'to six' } })
    t.same(await response.json(), { recipients: 6 })
    await getAll(t, tabs, 'to six')
    t.equal(await tabs[0]!.evaluate('performance.getEntriesByType("navigation")[0].nextHopProtocol'), 'http/1.1')
    await visitor.close()
  })

  await t.test('nine over HTTP/2, on one connection', async t => {
    const folder = mkdtempSync(join(tmpdir(), 'sse-tls-'))
    t.teardown(() => rmSync(folder, { recursive: true }))
    const TLS_KEY = join(folder, 'key.pem')
    const TLS_CERT = join(folder, 'cert.pem')
    const { key, cert } = selfSigned()
    writeFileSync(TLS_KEY, key)
    writeFileSync(TLS_CERT, cert)
    const { address } = await startServer(t, 'examples/server.ts', { TLS_KEY, TLS_CERT })
    const visitor = await visitors.visitor({ ignoreHTTPSErrors: true })
    const tabs = await signedInTabs(visitor, address, 9)
    const [tab] = tabs
    t.equal(await tab!.evaluate('performance.getEntriesByType("navigation")[0].nextHopProtocol'), 'h2')
    await tab!.fill('#notify [name=user]', 'ada')
    await tab!.fill('#notify [name=message]', 'to nine')
    await tab!.click('#notify button')
    await shows(tab!, '#answer', 'Sent to 9 open streams.')
    await getAll(t, tabs, 'to nine')
    const [cookie] = await visitor.cookies()
    t.ok(cookie!.secure)
    await visitor.close()
  })

  t.same(visitors.errors, [])
})
