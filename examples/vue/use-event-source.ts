// A Vue composable for an event stream: open while the component is mounted.
import { onScopeDispose, readonly, ref, toValue, watch, type MaybeRefOrGetter, type Ref } from 'vue'
import { connect, type Stream, type StreamOptions, type StreamState } from 'fastify-sse-hub/client'

/**
 * Call it in `setup`.
 * @param url a string, a ref or a getter; `null` opens none, and another one opens the stream anew
 * @returns what the stream is doing
 */
export function useEventSource<Events extends object> (
  url: MaybeRefOrGetter<string | null>, options: Omit<StreamOptions<Events>, 'onState'>
): Readonly<Ref<StreamState>> {
  const state = ref<StreamState>('closed')
  let stream: Stream | undefined

  watch(() => toValue(url), target => {
    stream?.close()
    stream = target === null ? undefined : connect<Events>(target, { ...options, onState: now => { state.value = now } })
  }, { immediate: true })
  onScopeDispose(() => stream?.close())

  return readonly(state)
}
