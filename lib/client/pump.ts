// Takes items from a source one by one until it ends or nobody wants them any more. It must not know of clients.
import { Readable } from 'node:stream'
import { SSE_ERR_INVALID_OPTION } from '../errors.js'
import { guarded } from '../guarded.js'

/** Who wants the items. */
export interface Wanter {
  /** Whether it wants no more. */
  readonly closed: boolean
  /** Aborted when it is closed, perhaps a little later. */
  readonly signal: AbortSignal
}

/**
 * Hands on one item after the other, each when the one before was dealt with.
 * Resolves to true after the last one, to false once nobody wants them, even while the source is silent; then, and
 * when an item could not be dealt with, the source's `return()` is called.
 * Rejects with what the source or `deal` throws.
 * @param failed is told what the source's `return()` throws or rejects with: nobody waits for that
 * @throws SSE_ERR_INVALID_OPTION where the source can't be iterated
 */
export async function pump (source: unknown, wanter: Wanter, deal: (item: unknown) => Promise<unknown>, failed: (error: unknown) => void): Promise<boolean> {
  const iterator = iteratorOf(source)
  const { signal } = wanter
  // One listener for the whole run: racing each step against one long-lived promise would pile up reactions on it.
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
    // Not awaited: a generator answers only when its pending step is done, which may be never.
    if (!ended) {
      guarded(() => iterator.return?.(), failed)
      // Its iterator is such a generator.
      if (source instanceof Readable) guarded(() => source.destroy(), failed)
    }
  }
}

function iteratorOf (source: unknown): AsyncIterator<unknown> | Iterator<unknown> {
  const iterable = (source ?? {}) as Partial<AsyncIterable<unknown> & Iterable<unknown>>
  const iterator = iterable[Symbol.asyncIterator]?.() ?? iterable[Symbol.iterator]?.()
  if (iterator === undefined) throw new SSE_ERR_INVALID_OPTION('The source of client.stream() must be an async iterable, an iterable or a Readable')
  return iterator
}
