// How long a retry waits. It must not know what is tried again.

/**
 * Milliseconds to wait before the next attempt. They grow to 2 s and are random, so that instances do not all come back at
 * the same moment: attempt 1 waits 25 to 50 ms, attempt 4 waits 200 to 400 ms, attempt 7 and later ones 1 to 2 s.
 */
export function backoff (attempt: number): number {
  return Math.min(2000, 50 * 2 ** Math.min(attempt - 1, 6)) * (0.5 + Math.random() / 2)
}
