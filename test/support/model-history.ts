// The rules of lib/history/history.ts in the simplest form: it remembers everything, and each search looks at all of it. A
// target has `size` events of each kind: events without a key, states, and removals.
import type { KeptEvent } from '../../lib/history/history.js'

interface Remembered {
  readonly event: KeptEvent
  /** The targets that still have it. */
  readonly holders: Set<string>
  /** For each target that lost it, the number of the change in which that happened. */
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

  /** How many events are kept, without those that only remove a state. */
  get count (): number {
    return this.#all.filter(({ event, holders }) => holders.size > 0 && !event.remove).length
  }

  add (event: KeptEvent, targets: readonly string[]): void {
    this.changes++
    // If a newer event replaced it, it is gone, but not lost.
    for (const old of this.#all) {
      if (event.key === '' || old.event.key !== event.key || old.event.name !== event.name) continue
      for (const target of targets) old.holders.delete(target)
    }
    const added: Remembered = { event, holders: new Set(targets), went: new Map() }
    this.#all.push(added)
    for (const target of targets) {
      const held = this.#all.filter(old => old.holders.has(target) && kindOf(old.event) === kindOf(event))
      for (const old of held.slice(0, Math.max(0, held.length - this.#size))) this.#take(old, target)
    }
  }

  /** Removes the oldest events until only `count` are kept. */
  evict (count: number): void {
    while (this.count > count) {
      const oldest = this.#all.find(({ holders }) => holders.size > 0)!
      for (const target of [...oldest.holders]) this.#take(oldest, target)
    }
  }

  /** @param fresh leaves out events that only remove a state */
  range (targets: readonly string[], after: number, to: number, fresh: boolean): KeptEvent[] {
    return this.#all
      .filter(({ event, holders }) => event.position > after && event.position <= to && targets.some(target => holders.has(target)))
      .map(({ event }) => event)
      .filter(({ remove }) => !fresh || !remove)
  }

  /** The states of a target with an event name. */
  states (target: string, name: string): KeptEvent[] {
    return this.range([target], 0, Infinity, true).filter(event => event.key !== '' && event.name === name)
  }

  /**
   * Whether one of these targets lost an event after a position, in a change after `change`. With `null` it looks at all
   * targets.
   */
  lost (targets: readonly string[] | null, after: number, change: number): boolean {
    return this.#all.some(({ event, went }) => event.position > after &&
      [...went].some(([target, at]) => at > change && (targets === null || targets.includes(target))))
  }

  /** The position of the newest event that a target has lost; 0 for none. */
  floor (target: string): number {
    return this.#all.findLast(({ went }) => went.has(target))?.event.position ?? 0
  }

  #take (remembered: Remembered, target: string): void {
    remembered.holders.delete(target)
    remembered.went.set(target, this.changes)
  }
}

function kindOf ({ key, remove }: KeptEvent): 'event' | 'state' | 'removal' {
  return key === '' ? 'event' : remove ? 'removal' : 'state'
}
