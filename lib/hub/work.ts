// Keeps the application's code out of the hub's work. It must not know what the application is told.
//
// A piece of work is a delivery, an opening, a closing or a slice of visits. What the application is told of it waits in one
// queue, which runs when the outermost piece of work is done. Example: one publish finds 1,000 clients too slow. First all of
// them are removed. Then 1,000 tasks run in a loop. What their listeners publish is delivered at once, because no work is under
// way. The tasks that it causes are appended to the same queue, so the stack does not grow.
import { AsyncResource } from 'node:async_hooks'
import { guarded } from '../guarded.js'

/** How long tasks may hold the event loop, in milliseconds. Listeners that cause each other for ever do not stop other work. */
const SLICE = 10
/** Tasks between two looks at the clock. */
const LOOK = 16
/** How many tasks at the front must be done before they are removed from the queue. A removal for each would be slow. */
const SPENT = 1024

interface Task {
  readonly run: () => unknown
  readonly context: AsyncResource
}

export class Work {
  /** The asynchronous context in which the hub was made. */
  readonly #context = new AsyncResource('fastify-sse-hub')
  readonly #failed: (error: unknown) => void
  #depth = 0
  /** Those from `#next` on wait. Those before it are done. */
  #tasks: Array<Task | undefined> = []
  #next = 0
  #running = false
  /** Whether the next turn of the event loop goes on with the tasks. */
  #continues = false
  #idle: Array<() => void> = []

  /** @param failed gets what a task throws or rejects with; must not throw */
  constructor (failed: (error: unknown) => void) {
    this.#failed = failed
  }

  /** No task runs between this and `end`, which must be in a `finally`. Pieces of work may be inside each other. */
  begin (): void {
    this.#depth++
  }

  end (): void {
    if (--this.#depth === 0) this.#run()
  }

  /** Does a piece of work. The hot paths call `begin` and `end` themselves. */
  do<Result> (run: () => Result): Result {
    this.begin()
    try {
      return run()
    } finally {
      this.end()
    }
  }

  /**
   * Runs application code when no work is under way.
   * @param context the asynchronous context to run it in; default: the one in which the hub was made
   */
  after (run: () => unknown, context = this.#context): void {
    this.#tasks.push({ run, context })
    if (this.#depth === 0) this.#run()
  }

  /** Resolves when no task is left. */
  idle (): Promise<void> {
    return this.#tasks.length === 0 ? Promise.resolve() : new Promise(resolve => this.#idle.push(resolve))
  }

  #run (): void {
    if (this.#running || this.#continues || this.#tasks.length === 0) return
    this.#running = true
    const end = performance.now() + SLICE
    for (let done = 1; this.#next < this.#tasks.length; done++) {
      const task = this.#tasks[this.#next]!
      this.#tasks[this.#next++] = undefined
      guarded(() => task.context.runInAsyncScope(task.run), this.#failed)
      if (done % LOOK === 0 && performance.now() > end) break
    }
    this.#running = false
    if (this.#next < this.#tasks.length) return this.#continueSoon()
    this.#tasks.length = this.#next = 0
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  #continueSoon (): void {
    if (this.#next >= SPENT) this.#next -= this.#tasks.splice(0, this.#next).length
    this.#continues = true
    setImmediate(() => {
      this.#continues = false
      this.#run()
    })
  }
}
