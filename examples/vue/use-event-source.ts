// A Vue composable for an event stream that is the only source of what the component shows. It is open while the component is mounted.
import { onScopeDispose, readonly, ref, toValue, watch, type MaybeRefOrGetter, type Ref } from 'vue'
import type { StreamState } from 'fastify-sse-hub/client'
import { follow, type FollowedStream, type FollowOptions } from '../follow.js'

/**
 * Call it in `setup`.
 * @param url a string, a ref or a getter. With `null`, no stream is open; a new URL opens a new stream.
 * @returns the state of the stream
 */
export function useEventSource<Events extends object> (
  url: MaybeRefOrGetter<string | null>, options: Omit<FollowOptions<Events>, 'onState'>
): Readonly<Ref<StreamState>> {
  const state = ref<StreamState>('closed')
  let stream: FollowedStream | undefined

  watch(() => toValue(url), target => {
    stream?.close()
    stream = target === null ? undefined : follow<Events>(target, { ...options, onState: now => { state.value = now } })
  }, { immediate: true })
  onScopeDispose(() => stream?.close())

  return readonly(state)
}
