import { once } from 'node:events'
import t from 'tap'
import { open, shows, Visitors, withoutBrowser } from '../support/browser.js'
import { withoutRedis } from '../support/redis-server.js'
import { spawnProgram } from '../support/spawn-program.js'

t.test('the chat on three instances goes on when one is killed', { skip: withoutBrowser || withoutRedis }, async t => {
  const program = spawnProgram(t, 'examples/cluster/start.ts', { env: { PORT: '0', REDIS_URL: '' } })
  let output = ''
  program.stdout.on('data', part => { output += part })
  const printed = async (pattern: RegExp): Promise<RegExpExecArray> => {
    for (;;) {
      const found = pattern.exec(output)
      if (found !== null) return found
      await once(program.stdout, 'data')
    }
  }
  const [, url] = await printed(/Open (\S+) in/)
  t.equal(output.match(/instance \d+ listens/g)!.length, 3)

  const visitors = await Visitors.come(t)
  const [ada, bob] = await Promise.all(['ada', 'bob'].map(async user => {
    const page = await open(await visitors.visitor(), url!)
    await page.fill('#enter [name=user]', user)
    await page.keyboard.press('Enter')
    await shows(page, '#state', 'open')
    return page
  }))
  await shows(ada!, '#users', 'bob')
  await shows(bob!, '#users', 'ada')
  const say = async (page: typeof ada, text: string): Promise<void> => {
    await page!.fill('#say [name=text]', text)
    await page!.keyboard.press('Enter')
    await shows(page!, '#messages .own', text)
  }
  await say(ada, 'one')
  await shows(bob!, '#messages', 'one')

  // Two of the three instances are killed, one after the other. A page may be connected to any of them. New ones replace them.
  const pids = [...output.matchAll(/instance (\d+) listens/g)].map(([, pid]) => Number(pid))
  for (const [i, pid] of pids.slice(0, 2).entries()) {
    process.kill(pid, 'SIGKILL')
    await printed(new RegExp(`instance ${pid} is gone`))
    for (const page of [ada, bob]) await shows(page!, '#state', 'open')
    await shows(ada!, '#users', 'bob')
    await say(bob, `after ${i}`)
    await shows(ada!, '#messages', `after ${i}`)
    while (output.match(/instance \d+ listens/g)!.length < 4 + i) await once(program.stdout, 'data')
  }
  const said = ['adaone', 'bobafter 0', 'bobafter 1']
  for (const page of [ada, bob]) t.same(await page!.locator('#messages li:not(.notice)').allTextContents(), said)
  t.same(visitors.errors.filter(error => !error.includes('net::ERR_')), [])

  const exit = once(program, 'exit')
  program.kill('SIGTERM')
  t.same(await exit, [0, null])
})
