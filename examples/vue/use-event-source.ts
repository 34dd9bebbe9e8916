// A Vue composable for an event stream. The stream is open while the component is mounted.
import { onScopeDispose, readonly, ref, toValue, watch, type MaybeRefOrGetter, type Ref } from 'vue'
import { connect, type Stream, type StreamOptions, type StreamState } from 'fastify-sse-hub/client'

/**
 * Call it in `setup`.
 * @param url a string, a ref or a getter. With `null`, no stream is open; a new URL opens a new stream.
 * @returns the state of the stream
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
