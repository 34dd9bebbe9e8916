// A Vue composable for an event stream: open while the component is mounted.
import { onScopeDispose, readonly, ref, toValue, watch, type MaybeRefOrGetter, type Ref } from 'vue'
import type { TSchema } from '@sinclair/typebox'
import { connect, type Stream, type StreamListeners, type StreamState } from '../connect.js'

/**
 * Call it in `setup`.
 * @param url a string, a ref or a getter; `null` opens none, and another one opens the stream anew
 * @returns what the stream is doing
 */
export function useEventSource<Events extends Record<string, TSchema>> (
  url: MaybeRefOrGetter<string | null>, listeners: Omit<StreamListeners<Events>, 'onState'>
): Readonly<Ref<StreamState>> {
  const state = ref<StreamState>('closed')
  let stream: Stream | undefined

  watch(() => toValue(url), target => {
    stream?.close()
    stream = target === null ? undefined : connect(target, { ...listeners, onState: now => { state.value = now } })
  }, { immediate: true })
  onScopeDispose(() => stream?.close())

  return readonly(state)
}
