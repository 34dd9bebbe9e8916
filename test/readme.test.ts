import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { EventSource } from 'eventsource'
import t from 'tap'
import { startServer } from './support/server-process.js'

const root = fileURLToPath(new URL('../', import.meta.url))

t.test('the quick start of the README runs as it stands there', async t => {
  const readme = await readFile(`${root}README.md`, 'utf8')
  const code = /## Quick start\n\n```js\n(.*?)```/s.exec(readme)?.[1]
  t.type(code, 'string')
  const folder = await mkdtemp(`${root}examples/.readme-`)
  t.teardown(() => rm(folder, { recursive: true }))
  await writeFile(`${folder}/server.ts`, code!)
  const { address } = await startServer(t, `${folder}/server.ts`)

  const source = new EventSource(`${address}/chat/lobby`)
  t.teardown(() => source.close())
  await new Promise(resolve => source.addEventListener('sse:open', resolve, { once: true }))
  const message = new Promise<MessageEvent>(resolve => source.addEventListener('message', resolve, { once: true }))
  const body = { user: 'alice', text: 'hi' }
  const response = await fetch(`${address}/chat/lobby`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  const { data, lastEventId } = await message
  t.same(await response.json(), { id: lastEventId, recipients: 1 })
  t.same(JSON.parse(data), body)
})
