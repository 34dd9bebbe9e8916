// What lib/history.ts must do, in the simplest way: everything is remembered, and looked for from the beginning. Events without
// a key, states and removals are three kinds, of which a target has `size` each.
import type { KeptEvent } from '../../lib/history/history.js'

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

  /** Those aside that only remove a state. */
  get count (): number {
    return this.#all.filter(({ event, holders }) => holders.size > 0 && !event.remove).length
  }

  add (event: KeptEvent, targets: readonly string[]): void {
    this.changes++
    // What a newer one has taken the place of is gone, and no loss.
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

  /** Lets go of the oldest until so many are kept. */
  evict (count: number): void {
    while (this.count > count) {
      const oldest = this.#all.find(({ holders }) => holders.size > 0)!
      for (const target of [...oldest.holders]) this.#take(oldest, target)
    }
  }

  /** @param fresh without those that only remove a state */
  range (targets: readonly string[], after: number, to: number, fresh: boolean): KeptEvent[] {
    return this.#all
      .filter(({ event, holders }) => event.position > after && event.position <= to && targets.some(target => holders.has(target)))
      .map(({ event }) => event)
      .filter(({ remove }) => !fresh || !remove)
  }

  /** The states of a target's events of a name. */
  states (target: string, name: string): KeptEvent[] {
    return this.range([target], 0, Infinity, true).filter(event => event.key !== '' && event.name === name)
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

function kindOf ({ key, remove }: KeptEvent): 'event' | 'state' | 'removal' {
  return key === '' ? 'event' : remove ? 'removal' : 'state'
}
