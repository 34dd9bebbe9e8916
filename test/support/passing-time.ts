// Lets time pass for `performance.now()`. By this clock the hub sees whether its queue holds the event loop for too long.
const { now } = performance
let passed = 0

performance.now = () => now.call(performance) + passed

/** Lets this number of milliseconds pass at once. */
export function letPass (milliseconds: number): void {
  passed += milliseconds
}
