// `fastify-sse-hub/client` in Node: typed by the schemas that the server has, or by types.
import { EventSource } from 'eventsource'
import { EventSource as EventSource5 } from 'eventsource-5'
import { EventSource as UndiciEventSource } from 'undici'
import { EventSource as Undici8EventSource } from 'undici-8'
import { Type } from '@sinclair/typebox'
import { describe, expect, test } from 'tstyche'
import { connect, type Stream, type StreamData, type StreamEvent, type StreamOptions, type StreamState } from 'fastify-sse-hub/client'

export const events = {
  notification: Type.Object({ type: Type.String(), message: Type.String() }),
  progress: Type.Object({ percent: Type.Number() })
}

interface Prices {
  price: { symbol: string, price: number }
  halt: string | null
}

describe('listeners', () => {
  test('are given what the event\'s schema says', () => {
    connect<typeof events>('/', {
      on: {
        notification (data, event) {
          expect(data).type.toBe<{ type: string, message: string }>()
          expect(event).type.toBe<StreamEvent>()
        },
        progress: ({ percent }) => expect(percent).type.toBe<number>()
      }
    })
  })

  test('are given what a type says, where there is no schema', () => {
    connect<Prices>('/', {
      on: {
        price: data => expect(data).type.toBe<{ symbol: string, price: number }>(),
        halt: data => expect(data).type.toBe<string | null>()
      }
    })
  })

  test('are given unknown data where nothing is declared', () => {
    connect('/', { on: { anything: data => expect(data).type.toBe<unknown>() } })
  })

  test('of events that are not declared are refused', () => {
    expect<StreamOptions<typeof events>['on']>().type.not.toBeAssignableFrom({ notificatoin () {} })
    expect<StreamOptions<typeof events>['on']>().type.not.toBeAssignableFrom({ progress (data: string) { return data } })
    expect<StreamOptions<typeof events>['on']>().type.toBeAssignableFrom({ async progress () {} })
  })

  test('of the hub\'s own events are typed by themselves', () => {
    connect('/', {
      onOpen: opened => expect(opened).type.toBe<{ readonly clientId: string, readonly recovered: boolean }>(),
      onGap: ({ lost }) => expect(lost).type.toBe<number | null>(),
      onState: state => expect(state).type.toBe<StreamState>(),
      onError: error => expect(error).type.toBe<unknown>()
    })
  })
})

test('data can be had as a type', () => {
  expect<StreamData<typeof events.progress>>().type.toBe<{ percent: number }>()
  expect<StreamData<Prices['halt']>>().type.toBe<string | null>()
  expect<StreamData<boolean>>().type.toBe<boolean>()
})

test('raw events are declared ones', () => {
  expect<StreamOptions<typeof events>>().type.toBeAssignableFrom({ raw: ['progress'] as ['progress'] })
  expect<StreamOptions<typeof events>>().type.not.toBeAssignableFrom({ raw: ['progres'] as ['progres'] })
  expect<StreamOptions>().type.toBeAssignableFrom({ raw: ['anything'] })
})

test('the implementations of EventSource that there are in Node are taken, and its signals and URLs', () => {
  expect(connect).type.toBeCallableWith('/', { EventSource })
  expect(connect).type.toBeCallableWith('/', { EventSource: EventSource5 })
  expect(connect).type.toBeCallableWith('/', { EventSource: UndiciEventSource })
  expect(connect).type.toBeCallableWith('/', { EventSource: Undici8EventSource })
  expect(connect).type.not.toBeCallableWith('/', { EventSource: Map })
  expect(connect).type.toBeCallableWith(new URL('http://localhost'), { signal: new AbortController().signal })
})

test('an option that there is not is refused', () => {
  expect(connect).type.not.toBeCallableWith('/', { retries: 3 })
  expect(connect).type.not.toBeCallableWith('/', { heartbeat: { event: 'beat' } })
  expect(connect).type.toBeCallableWith('/')
  expect(connect('/')).type.toBe<Stream>()
})
