// What a handler may do before, with and after `reply.sse()`, with every kind of onSend hook.
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { Transform, type Readable } from 'node:stream'
import { runInNewContext } from 'node:vm'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import type { SSEClient } from '../../lib/index.js'
import { buildApp, listen } from '../support/app.js'
import { nextDisconnect, recordDisconnects } from '../support/disconnects.js'
import { withoutFastify } from '../support/fastify-version.js'
import { ERROR, MemoryLog, WARN } from '../support/memory-log.js'
import { parseEvents, RawClient } from '../support/raw-client.js'
import { checkReceives, openStream, request, responsesAfter } from '../support/streams.js'

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown
type AddHook = (app: FastifyInstance) => void

/** What an application may do with the payload before it is sent. */
const onSendHooks: Record<string, AddHook> = {
  'no onSend hook': () => {},
  'a sync onSend hook': app => app.addHook('onSend', (_request, _reply, payload, done) => done(null, payload)),
  'an async onSend hook': app => app.addHook('onSend', async (_request, _reply, payload) => {
    await turn()
    return payload
  }),
  'an onSend hook that pipes the stream through a Transform': app => app.addHook('onSend', async (_request, _reply, payload) => {
    return isStream(payload) ? payload.pipe(new Transform({ transform: (chunk, _encoding, done) => done(null, chunk) })) : payload
  })
}

function isStream (payload: unknown): payload is Readable {
  return typeof (payload as Readable | null)?.pipe === 'function'
}

/** Resolves after everything that is due now. */
function turn (): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

interface Served {
  readonly app: FastifyInstance
  readonly log: MemoryLog
  readonly port: number
}

/** Serves a handler at /events, and a plain route. */
async function serve (t: Test, handler: Handler, addHook: AddHook = () => {}, options = {}): Promise<Served> {
  const log = new MemoryLog()
  const app = await buildApp(t, {}, { loggerInstance: log.logger, ...options })
  addHook(app)
  app.get('/events', handler)
  app.get('/plain', async () => 'plain')
  return { app, log, port: await listen(app) }
}

const handlers: Record<string, Handler> = {
  'a sync handler that returns nothing': (_request, reply) => { reply.sse() },
  'a sync handler that returns what reply.sse() gives': (_request, reply) => reply.sse(),
  'a sync handler that returns the client later on': (_request, reply) => {
    const client = reply.sse()
    client.join('room')
    return client
  },
  'a sync handler that returns the reply': (_request, reply) => {
    reply.sse()
    return reply
  },
  'an async handler that returns nothing': async (_request, reply) => { reply.sse() },
  'an async handler that returns what reply.sse() gives': async (_request, reply) => reply.sse(),
  'an async handler that returns the reply': async (_request, reply) => {
    reply.sse()
    return reply
  },
  'an async handler that waits before and after': async (_request, reply) => {
    await turn()
    const client = reply.sse()
    await turn()
    return client
  },
  'an async handler that waits before, and returns nothing': async (_request, reply) => {
    await turn()
    reply.sse()
  },
  'an async handler that lasts as long as the client': async (_request, reply) => {
    const { signal } = reply.sse()
    await new Promise(resolve => signal.addEventListener('abort', resolve))
  },
  'an async handler that sends by itself': async (_request, reply) => {
    const client = reply.sse([], { greeting: true })
    await client.send('hello', 1, {})
    await client.stream([2, 3], { event: 'hello' })
  }
}

for (const [hookName, addHook] of Object.entries(onSendHooks)) {
  for (const [name, handler] of Object.entries(handlers)) {
    t.test(`${name}, with ${hookName}: only the stream is sent, and nothing is logged as a problem`, async t => {
      const { app, log, port } = await serve(t, handler, addHook)
      const client = await openStream(t, port)
      const own = name.endsWith('sends by itself') ? 3 : 0
      await client.untilEvents(1 + own)
      await checkReceives(t, app.sse, client)
      await checkReceives(t, app.sse, client)
      app.sse.clients()[0]!.close()
      await client.until(() => client.complete)
      t.equal(client.events.length, 3 + own)
      const responses = await responsesAfter(client, '/plain')
      t.same(responses.map(({ status }) => status), [200, 200])
      t.equal(responses[1]!.body.toString(), 'plain')
      t.same(log.complaints, [])
    })
  }
}

const failures: Record<string, Handler> = {
  'a sync handler that throws after reply.sse()': (_request, reply) => {
    reply.sse()
    throw new Error('the handler failed')
  },
  'an async handler that rejects after reply.sse()': async (_request, reply) => {
    reply.sse()
    throw new Error('the handler failed')
  },
  'an async handler that rejects long after reply.sse()': async (_request, reply) => {
    const client = reply.sse()
    await client.send('hello', 1)
    throw new Error('the handler failed')
  }
}

/** What may be thrown besides an `Error`, and what the log says of it. */
const thrown: Record<string, readonly [value: unknown, logged: unknown]> = {
  'an object': [{ statusCode: 418, message: 'teapot' }, { message: 'teapot' }],
  'a string': ['a word', 'a word'],
  'a number': [0, 0],
  'an Error of another realm': [runInNewContext('new Error("from elsewhere")'), { message: 'from elsewhere' }],
  null: [null, null],
  undefined: [undefined, undefined]
}

for (const [what, [value, logged]] of Object.entries(thrown)) {
  for (const when of ['at once', 'in its promise', 'later']) {
    t.test(`a handler that throws ${what} ${when} after reply.sse() fails as with an Error: it is logged, and the stream ends`, async t => {
      const handler: Handler = when === 'at once'
        ? (_request, reply) => {
            reply.sse()
            throw value
          }
        : async (_request, reply) => {
          const client = reply.sse()
          if (when === 'later') await client.send('hello', 1)
          throw value
        }
      const { app, log, port } = await serve(t, handler)
      const disconnects = recordDisconnects(app)
      const client = await request(t, port, { path: '/events' })
      await client.until(() => client.complete)
      t.same(disconnects.map(({ reason }) => reason), ['error'])
      t.match(log.complaints, [{ level: ERROR, msg: 'the handler failed after reply.sse(), so its stream ends' }])
      t.match(log.complaints[0]!.err, logged)
      t.equal((await responsesAfter(client, '/plain'))[1]!.body.toString(), 'plain')
      t.equal(log.complaints.length, 1)
    })
  }

  t.test(`a handler that throws ${what} while an async onSend hook runs gets the app's error handler`, async t => {
    const { app, port } = await serve(t, async (_request, reply) => {
      reply.sse()
      throw value
    }, app => {
      onSendHooks['an async onSend hook']!(app)
      app.setErrorHandler((error, _request, reply) => { reply.code(500).send({ caught: what, same: error === value }) })
    })
    const disconnects = recordDisconnects(app)
    const client = await request(t, port, { path: '/events' })
    await client.until(() => client.text.endsWith('}'))
    t.same([client.status, JSON.parse(client.text)], [500, { caught: what, same: true }])
    t.same(disconnects.map(({ reason }) => reason), ['error'])
  })
}

for (const [hookName, addHook] of Object.entries(onSendHooks)) {
  for (const [name, handler] of Object.entries(failures)) {
    // In these cases the handler fails before the stream is sent.
    const runsLater = hookName === 'an async onSend hook' || hookName.includes('Transform')
    if (runsLater && !name.includes('long after')) continue
    t.test(`${name}, with ${hookName}: the failure is logged, the stream ends completely, and the server goes on`, async t => {
      const { app, log, port } = await serve(t, handler, addHook)
      const disconnects = recordDisconnects(app)
      const client = await request(t, port, { path: '/events' })
      await client.until(() => client.complete)
      t.equal(client.status, 200)
      t.equal(client.events[0]!.event, 'sse:open')
      t.same(disconnects.map(({ reason }) => reason), ['error'])
      t.equal(app.sse.clientCount(), 0)
      t.match(log.complaints, [{ level: ERROR, err: { message: 'the handler failed' } }])
      const responses = await responsesAfter(client, '/plain')
      t.same(responses.map(({ status }) => status), [200, 200])
      t.equal(responses[1]!.body.toString(), 'plain')
      t.equal(log.complaints.length, 1)
    })
  }
}

t.test('the app\'s error handler answers once if a handler fails while an async onSend hook runs', async t => {
  for (const [name, handler] of Object.entries(failures).slice(0, 2)) {
    // The error's reply runs through the hook as well. It is sent before or after the hook passes the stream on.
    for (const errorGoes of ['first', 'last']) {
      t.test(`${name}, the error's reply ${errorGoes}`, async t => {
        let letStreamGo = (): void => {}
        let letErrorGo = (): void => {}
        const errorHeld = new Promise<void>(resolve => { letErrorGo = resolve })
        let streamGone = Promise.resolve()
        let reachedByError = (): void => {}
        const errorReaches = new Promise<void>(resolve => { reachedByError = resolve })
        const { app, log, port } = await serve(t, handler, app => {
          app.addHook('onSend', async (_request, _reply, payload) => {
            if (payload === 'plain') return payload
            if (isStream(payload)) {
              await new Promise<void>(resolve => { letStreamGo = resolve })
              streamGone = turn()
              return payload
            }
            reachedByError()
            if (errorGoes === 'last') await errorHeld
            return payload
          })
          app.setErrorHandler(async (error: Error, request, reply) => {
            request.log.error(error)
            reply.code(500)
            return `handled: ${error.message}`
          })
        })
        const disconnects = recordDisconnects(app)
        const client = new RawClient(port, { path: '/events' })
        t.teardown(() => client.destroy())
        await errorReaches
        t.same(disconnects.map(({ reason }) => reason), ['error'])
        t.equal(app.sse.clientCount(), 0)
        if (errorGoes === 'first') {
          await client.until(() => client.head !== '')
          letStreamGo()
          await streamGone
        } else {
          letStreamGo()
          await streamGone
          letErrorGo()
        }
        const responses = await responsesAfter(client, '/plain')
        t.same(responses.map(({ status, body }) => [status, body.toString()]), [[500, 'handled: the handler failed'], [200, 'plain']])
        t.notMatch(responses[0]!.head, /event-stream|x-accel-buffering|no-transform/)
        t.same(log.lines.filter(({ level }) => level >= ERROR).map(({ err }) => err?.message), ['the handler failed'])
      })
    }
  }
})

const lateSends: Record<string, Handler> = {
  'reply.send() with text': (_request, reply) => {
    reply.sse()
    reply.send('late')
  },
  'reply.send() with an object': (_request, reply) => {
    reply.sse()
    reply.send({ late: true })
  },
  'reply.send() with null': (_request, reply) => {
    reply.sse()
    reply.send(null)
  },
  'reply.send() later on': async (_request, reply) => {
    reply.sse()
    await turn()
    reply.send('late')
  },
  'what a sync handler returns': (_request, reply) => {
    reply.sse()
    return 'late'
  }
}

for (const [hookName, addHook] of Object.entries(onSendHooks)) {
  for (const [name, handler] of Object.entries(lateSends)) {
    t.test(`${name} after reply.sse(), with ${hookName}, is logged as a warning and changes nothing`, async t => {
      const { app, log, port } = await serve(t, handler, addHook)
      const client = await openStream(t, port)
      await checkReceives(t, app.sse, client)
      const { level, err } = await log.line(({ level }) => level >= WARN)
      t.equal(level, WARN)
      t.equal(err!.code, 'SSE_ERR_ALREADY_SENT')
      app.sse.clients()[0]!.close()
      await client.until(() => client.complete)
      t.equal(client.events.length, 2)
      const responses = await responsesAfter(client, '/plain')
      t.equal(responses[1]!.body.toString(), 'plain')
      t.equal(log.complaints.length, 1)
    })
  }

  t.test(`the return value of an async handler after reply.sse(), with ${hookName}, is not sent`, async t => {
    const { app, port } = await serve(t, async (_request, reply) => {
      reply.sse()
      return { late: true }
    }, addHook)
    const client = await openStream(t, port)
    await checkReceives(t, app.sse, client)
  })
}

t.test('a second reply.sse() on the same reply throws SSE_ERR_ALREADY_SENT, and the stream goes on', async t => {
  for (const [hookName, addHook] of Object.entries(onSendHooks)) {
    t.test(`with ${hookName}`, async t => {
      const errors: unknown[] = []
      const { app, log, port } = await serve(t, async (_request, reply) => {
        const attempt = (): void => {
          try {
            reply.sse('room')
          } catch (error) {
            errors.push(error)
          }
        }
        reply.sse()
        attempt()
        await turn()
        await turn()
        attempt()
      }, addHook)
      const client = await openStream(t, port)
      await checkReceives(t, app.sse, client)
      t.match(errors, [{ code: 'SSE_ERR_ALREADY_SENT' }, { code: 'SSE_ERR_ALREADY_SENT' }])
      t.equal(app.sse.clientCount(), 1)
      t.equal(app.sse.clientCount('room'), 0)
      t.same(log.complaints, [])
    })
  }
})

t.test('reply.sse() after reply.send() throws SSE_ERR_ALREADY_SENT, and the sent answer stays', async t => {
  const errors: unknown[] = []
  const { app, port } = await serve(t, (_request, reply) => {
    reply.send('sent')
    try {
      reply.sse()
    } catch (error) {
      errors.push(error)
    }
  })
  const client = await request(t, port, { path: '/events' })
  const responses = await responsesAfter(client, '/plain')
  t.same(responses.map(({ status, body }) => [status, body.toString()]), [[200, 'sent'], [200, 'plain']])
  t.match(errors, [{ code: 'SSE_ERR_ALREADY_SENT' }])
  t.equal(app.sse.stats().connections, 0)
})

t.test('reply.sse() after reply.hijack() throws SSE_ERR_ALREADY_SENT', async t => {
  const errors: unknown[] = []
  const { app, port } = await serve(t, (_request, reply) => {
    reply.hijack()
    try {
      reply.sse()
    } catch (error) {
      errors.push(error)
    }
    reply.raw.end('mine')
  })
  const client = await request(t, port, { path: '/events' })
  await client.until(() => client.text === 'mine')
  t.match(errors, [{ code: 'SSE_ERR_ALREADY_SENT' }])
  t.equal(app.sse.stats().connections, 0)
})

for (const [hookName, addHook] of Object.entries(onSendHooks)) {
  t.test(`handlerTimeout, with ${hookName}, does not cut a healthy stream`, { skip: withoutFastify('5.8.0', 'has handlerTimeout') }, async t => {
    const { app, port } = await serve(t, (_request, reply) => { reply.sse() }, app => {
      addHook(app)
      app.get('/never', () => new Promise(() => {}))
    }, { handlerTimeout: 50 })
    const client = await openStream(t, port)
    // Its timeout starts after that of the stream.
    const never = await request(t, port, { path: '/never' })
    t.equal(never.status, 503)
    await checkReceives(t, app.sse, client)
    t.equal(app.sse.clientCount(), 1)
  })
}

t.test('a trailer that the handler sets is sent after the stream', async t => {
  const { app, log, port } = await serve(t, (_request, reply) => {
    reply.trailer('x-count', async () => '2')
    reply.sse('room')
  })
  const outgoing = get({ port, host: '127.0.0.1', path: '/events', agent: false })
  t.teardown(() => outgoing.destroy())
  const [response] = await once(outgoing, 'response') as [IncomingMessage]
  let text = ''
  response.setEncoding('utf8').on('data', data => { text += data })
  app.sse.toChannel('room', 'message', 1)
  app.sse.toChannel('room', 'message', 2)
  app.sse.clients()[0]!.close()
  await once(response, 'end')
  t.same(parseEvents(text).slice(1).map(({ data }) => data), ['1', '2'])
  t.equal(response.trailers['x-count'], '2')
  t.same(log.complaints, [])
})

t.test('reply.sse() in an async preHandler hook that returns the reply prevents the handler', async t => {
  for (const [hookName, addHook] of Object.entries(onSendHooks)) {
    for (const end of ['the server ends the stream', 'the client leaves']) {
      t.test(`with ${hookName}, not even after ${end}`, async t => {
        let ran = false
        let client: SSEClient | undefined
        const { app, log, port } = await serve(t, async () => {
          ran = true
          return 'handled'
        }, app => {
          addHook(app)
          app.addHook('preHandler', async (request, reply) => {
            if (request.url !== '/events') return
            client = reply.sse()
            return reply
          })
        })
        const stream = await openStream(t, port)
        await checkReceives(t, app.sse, stream)
        const disconnected = nextDisconnect(app)
        if (end === 'the client leaves') stream.destroy()
        else client!.close()
        await disconnected
        await responsesAfter(await request(t, port, { path: '/plain' }), '/plain')
        t.notOk(ran)
        t.same(log.complaints, [])
      })
    }
  }
})

t.test('reply.sse() after the client has left registers no client, and no listener hears of one', async t => {
  for (const [hookName, addHook] of Object.entries(onSendHooks)) {
    t.test(`with ${hookName}`, async t => {
      let done = (_client: SSEClient): void => {}
      const handled = new Promise<SSEClient>(resolve => { done = resolve })
      let entered = (): void => {}
      const inHandler = new Promise<void>(resolve => { entered = resolve })
      const { app, log, port } = await serve(t, async (request, reply) => {
        entered()
        await once(request.raw.socket, 'close')
        const client = reply.sse('room', { id: 'a' })
        done(client)
      }, addHook)
      const told: string[] = []
      app.sse.on('connect', () => told.push('connect'))
      app.sse.on('disconnect', () => told.push('disconnect'))
      const stream = new RawClient(port, { path: '/events' })
      await inHandler
      stream.destroy()
      const client = await handled
      t.ok(client.closed)
      // The signal is aborted after the handler's turn, so that the handler can register its listeners first.
      t.notOk(client.signal.aborted)
      await once(client.signal, 'abort')
      t.equal(await client.send('message', 1), false)
      t.equal(app.sse.clientCount(), 0)
      t.equal(app.sse.client('a'), undefined)
      t.equal((await app.sse.toChannel('room', 'message', 1)).recipients, 0)
      await responsesAfter(await request(t, port, { path: '/plain' }), '/plain')
      t.equal(app.sse.clientCount(), 0)
      t.equal(app.sse.stats().bufferedBytes, 0)
      t.same(told, [])
      t.same(log.complaints, [])
    })
  }
})
