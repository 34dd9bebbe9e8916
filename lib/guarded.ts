// Calls the application's code in a way that can't end the process. It must not know what it calls.

/** @param failed gets what the call throws, or what its promise rejects with; must not throw */
export function guarded (call: () => unknown, failed: (error: unknown) => void): void {
  try {
    const result = call() as { readonly then?: unknown } | null | undefined
    // There is no check with `instanceof`: a promise of another realm is no instance of this realm's `Promise`.
    if (typeof result?.then === 'function') Promise.resolve(result).catch(failed)
  } catch (error) {
    failed(error)
  }
}
