// Answers in another order than the requests, as a cluster may give them after a redirection. A test can't make Redis do this.
import t from 'tap'
import type { RedisConnection } from '../../../lib/brokers/redis/connection.js'
import { formatId } from '../../../lib/brokers/redis/ids.js'
import { Keys } from '../../../lib/brokers/redis/keys.js'
import { Publisher } from '../../../lib/brokers/redis/publisher.js'
import { brokerEvent } from '../../support/broker-sink.js'

t.test('what Redis did not take is sent again in its order, in whatever order the answers came', async t => {
  const sent: Array<{ readonly batch: unknown, readonly refuse: () => void }> = []
  const connection = {
    ready: true,
    losses: 0,
    onReady () {},
    clock: (moment: number) => moment,
    publish: async (_keys: unknown, args: readonly unknown[]) => await new Promise((_resolve, reject) => {
      sent.push({ batch: args[5], refuse: () => reject(Object.assign(new Error('TRYAGAIN '), { name: 'ReplyError' })) })
    })
  } as unknown as RedisConnection
  const publishing = new Publisher(connection, {
    keys: new Keys('sse'),
    historySize: 0,
    historyAge: 1000,
    logAge: 1000,
    timeout: 60_000,
    standing: () => ({ epoch: 'epoch', n: 0, time: 0 }),
    formatId,
    recipients: () => 0
  })
  t.teardown(() => publishing.close())
  const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
  const refused: Array<Promise<unknown>> = []
  for (let i = 0; i < 3; i++) {
    refused.push(publishing.publish(brokerEvent(), '').catch(error => error.code))
    await turn()
  }
  t.strictSame(sent.map(({ batch }) => batch), [1, 2, 3])
  for (const { refuse } of sent.splice(0).reverse()) {
    refuse()
    await turn()
  }
  while (sent.length < 3) await turn()
  t.strictSame(sent.map(({ batch }) => batch), [1, 2, 3])
  publishing.close()
  t.strictSame(await Promise.all(refused), Array(3).fill('SSE_ERR_BROKER_UNAVAILABLE'))
})
