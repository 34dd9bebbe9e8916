// Takes items from a source one by one, until the source ends or the items are not wanted any more. It must not know of clients.
import type { Readable } from 'node:stream'
import type { SSEWebStream } from '../../types/index.js'
import { SSE_ERR_INVALID_OPTION } from '../errors.js'
import { guarded } from '../guarded.js'

/** Tells how long the items are wanted. */
export interface Wanter {
  /** Whether no more items are wanted. */
  readonly closed: boolean
  /** It is aborted after `closed` has become true, perhaps a little later. */
  readonly signal: AbortSignal
}

/**
 * Gives each item to `deal`, after the promise for the item before was resolved.
 * Resolves to true after the last item, and to false when the items are not wanted any more, even while the source gives none.
 * Rejects with what the source or `deal` throws.
 * If the source has not ended by then, its `return()` is called.
 * @param failed gets what the source's `return()` throws or rejects with: nobody waits for that
 * @throws SSE_ERR_INVALID_OPTION where the source can't be iterated
 */
export async function pump (source: unknown, wanter: Wanter, deal: (item: unknown) => Promise<unknown>, failed: (error: unknown) => void): Promise<boolean> {
  const iterator = iteratorOf(source)
  const { signal } = wanter
  // There is one listener for the whole run. With `Promise.race` of each step and one long-lived promise, that promise would keep a
  // reaction for each step.
  let stop = (): void => {}
  const onAbort = (): void => stop()
  signal.addEventListener('abort', onAbort)
  let ended = false
  try {
    while (!wanter.closed) {
      const step = await new Promise<IteratorResult<unknown> | null>((resolve, reject) => {
        stop = () => resolve(null)
        const end = (error: unknown): void => {
          ended = true
          reject(error)
        }
        try {
          Promise.resolve(iterator.next()).then(resolve, end)
        } catch (error) {
          end(error)
        }
      })
      if (step === null) break
      if (step.done === true) {
        ended = true
        return true
      }
      await deal(await step.value)
    }
    return false
  } finally {
    signal.removeEventListener('abort', onAbort)
    // This is not awaited. A generator answers only after its pending step, and that may never end.
    if (!ended) {
      guarded(() => iterator.return?.(), failed)
      // The iterator of a Readable is such a generator, so `return()` alone may never destroy it.
      const readable = source as Partial<Pick<Readable, 'pipe' | 'destroy'>>
      if (typeof readable.pipe === 'function') guarded(() => readable.destroy?.(), failed)
    }
  }
}

// These are told by their methods: streams of another realm, or of a package, are no instances of this realm's classes.
type Source = Partial<AsyncIterable<unknown> & Iterable<unknown> & SSEWebStream>

function iteratorOf (source: unknown): AsyncIterator<unknown> | Iterator<unknown> {
  const iterable = (source ?? {}) as Source
  // The iterator of a web stream calls `cancel()` only after its pending read. A reader calls it at once.
  if (typeof iterable.getReader === 'function') return readerOf(iterable.getReader())
  const iterator = iterable[Symbol.asyncIterator]?.() ?? iterable[Symbol.iterator]?.()
  if (iterator === undefined) throw new SSE_ERR_INVALID_OPTION('The source of client.stream() must be an async iterable, an iterable, a Readable or a ReadableStream')
  return iterator
}

function readerOf (reader: ReturnType<SSEWebStream['getReader']>): AsyncIterator<unknown> {
  return {
    next: () => reader.read() as Promise<IteratorResult<unknown>>,
    async return () {
      await reader.cancel()
      return { done: true, value: undefined }
    }
  }
}
