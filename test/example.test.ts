import { spawn } from 'node:child_process'
import { EventSource } from 'eventsource'
import t, { type Test } from 'tap'
import { startServer, stopServer } from './support/server-process.js'

function open (t: Test, url: string): EventSource {
  const source = new EventSource(url)
  t.teardown(() => source.close())
  return source
}

function next (source: EventSource, event: string): Promise<MessageEvent> {
  return new Promise(resolve => source.addEventListener(event, resolve, { once: true }))
}

function notify (address: string, body: unknown): Promise<Response> {
  return fetch(`${address}/notify`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
}

t.test('the notification example, in a process of its own', async t => {
  const server = await startServer(t, 'examples/notifications.ts')
  const { address } = server

  await t.test('serves its page', async t => {
    const response = await fetch(address)
    t.equal(response.status, 200)
    t.match(await response.text(), '<h1>Notifications</h1>')
  })

  await t.test('notifies every stream of the user and nobody else', async t => {
    const [first, second, other] = ['ada', 'ada', 'bob'].map(user => open(t, `${address}/notifications?user=${user}`))
    await Promise.all([next(first!, 'sse:open'), next(second!, 'sse:open'), next(other!, 'sse:open')])
    let others = 0
    other!.addEventListener('notification', () => { others++ })
    const received = Promise.all([next(first!, 'notification'), next(second!, 'notification')])
    const response = await notify(address, { user: 'ada', type: 'info', message: 'for ada' })
    t.same(await response.json(), { status: 'sent', recipients: 2 })
    for (const { data } of await received) t.match(JSON.parse(data), { type: 'info', message: 'for ada', time: Number })
    const own = next(other!, 'notification')
    await notify(address, { user: 'bob', type: 'warning', message: 'for bob' })
    t.match(JSON.parse((await own).data), { message: 'for bob' })
    t.equal(others, 1)
  })

  await t.test('sends the system status to everybody', async t => {
    const { data } = await next(open(t, `${address}/notifications?user=eve`), 'system-status')
    t.match(JSON.parse(data), { load: Number, memory: Number, clients: Number, time: Number })
  })

  await t.test('refuses a body that its schema does not admit', async t => {
    const response = await notify(address, { user: 'ada', type: 'shout', message: 'hi' })
    t.equal(response.status, 400)
    t.match((await response.json() as { message: string }).message, 'body/type')
  })

  await t.test('gives a page that comes later what it missed, also to curl', async t => {
    await notify(address, { user: 'carol', type: 'success', message: 'earlier' })
    const curl = spawn('curl', ['-sN', `${address}/notifications?user=carol`])
    t.teardown(() => curl.kill())
    let output = ''
    for await (const part of curl.stdout) {
      output += part
      if (output.includes('earlier')) break
    }
    t.match(output, /^retry: 3000\nevent: sse:open\ndata: {"clientId":"[\w-]{22}","recovered":false}\n\n/)
    t.match(output, /id: \S+\nevent: notification\ndata: {"type":"success","message":"earlier","time":\d+}\n\n$/)
  })

  await t.test('ends by itself on SIGTERM, with streams open', async t => {
    await next(open(t, `${address}/notifications?user=ada`), 'sse:open')
    t.equal(await stopServer(server), 0)
  })
})
