// Lets time pass for `performance.now()`, by which the hub tells whether its queue holds the event loop for too long.
const { now } = performance
let passed = 0

performance.now = () => now.call(performance) + passed

/** So many milliseconds pass at once. */
export function letPass (milliseconds: number): void {
  passed += milliseconds
}
