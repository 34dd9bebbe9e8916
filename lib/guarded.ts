// A call of the application's code that can't end the process.

/** Calls it. What it throws, or what its promise rejects with, goes to `failed`, which must not throw. */
export function guarded (call: () => unknown, failed: (error: unknown) => void): void {
  try {
    const result = call() as { readonly then?: unknown } | null | undefined
    // A promise of another realm is no instance of this realm's.
    if (typeof result?.then === 'function') Promise.resolve(result).catch(failed)
  } catch (error) {
    failed(error)
  }
}
