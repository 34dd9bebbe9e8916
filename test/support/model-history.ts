// What lib/history.ts must do, in the simplest way: everything is remembered, and looked for from the beginning.
import type { KeptEvent } from '../../lib/history.js'

interface Remembered {
  readonly event: KeptEvent
  /** The targets that still hold it. */
  readonly holders: Set<string>
  /** When it went from a target: the number of the change. */
  readonly went: Map<string, number>
}

export class ModelHistory {
  readonly #all: Remembered[] = []
  readonly #size: number
  /** Number of changes so far. */
  changes = 0

  constructor (size: number) {
    this.#size = size
  }

  get count (): number {
    return this.#all.filter(({ holders }) => holders.size > 0).length
  }

  add (event: KeptEvent, targets: readonly string[]): void {
    this.changes++
    const added: Remembered = { event, holders: new Set(targets), went: new Map() }
    this.#all.push(added)
    for (const target of targets) {
      const held = this.#all.filter(({ holders }) => holders.has(target))
      for (const old of held.slice(0, Math.max(0, held.length - this.#size))) this.#take(old, target)
    }
  }

  /** Lets go of the oldest until so many are kept. */
  evict (count: number): void {
    while (this.count > count) {
      const oldest = this.#all.find(({ holders }) => holders.size > 0)!
      for (const target of [...oldest.holders]) this.#take(oldest, target)
    }
  }

  range (targets: readonly string[], after: number, to: number): KeptEvent[] {
    return this.#all
      .filter(({ event, holders }) => event.position > after && event.position <= to && targets.some(target => holders.has(target)))
      .map(({ event }) => event)
  }

  /** Whether something after a position went from one of these targets (from any, where none is given) in a later change. */
  lost (targets: readonly string[] | null, after: number, change: number): boolean {
    return this.#all.some(({ event, went }) => event.position > after &&
      [...went].some(([target, at]) => at > change && (targets === null || targets.includes(target))))
  }

  #take (remembered: Remembered, target: string): void {
    remembered.holders.delete(target)
    remembered.went.set(target, this.changes)
  }
}
