// TypeScript in a page: it has the DOM's types but not Node's, and imports the server's schemas as a type.
import type { Static } from '@sinclair/typebox'
import { connect, type StreamState } from 'fastify-sse-hub/client'
import type { events } from './consumer.events.js'

const controller = new AbortController()
const notifications: Array<Static<typeof events.notification>> = []
export const states: StreamState[] = []

connect<typeof events>('/notifications', {
  EventSource,
  signal: controller.signal,
  on: {
    notification (data) { notifications.push(data) },
    // @ts-expect-error there is no such event
    other () {}
  },
  onOpen ({ recovered }) { if (!recovered) notifications.length = 0 },
  onState (state) { states.push(state) }
})
