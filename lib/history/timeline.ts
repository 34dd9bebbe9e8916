// The entries of all targets in one order, with their count and bytes: history removes the oldest first. It is a linked
// list, because an entry in the middle is removed when its last target removes it. This file must not know what targets are.
import type { Entry } from './entry.js'

export class Timeline<Target> {
  #oldest: Entry<Target> | null = null
  #newest: Entry<Target> | null = null
  #count = 0
  #bytes = 0

  get oldest (): Entry<Target> | null {
    return this.#oldest
  }

  /** Entries, without those that remove a state. */
  get count (): number {
    return this.#count
  }

  get bytes (): number {
    return this.#bytes
  }

  push (entry: Entry<Target>): void {
    entry.older = this.#newest
    if (this.#newest === null) this.#oldest = entry
    else this.#newest.newer = entry
    this.#newest = entry
    this.#add(entry)
  }

  /** Makes an entry the oldest one: it will be removed first. */
  unshift (entry: Entry<Target>): void {
    entry.newer = this.#oldest
    if (this.#oldest === null) this.#newest = entry
    else this.#oldest.older = entry
    this.#oldest = entry
    this.#add(entry)
  }

  remove (entry: Entry<Target>): void {
    if (entry.older === null) this.#oldest = entry.newer
    else entry.older.newer = entry.newer
    if (entry.newer === null) this.#newest = entry.older
    else entry.newer.older = entry.older
    if (!entry.remove) this.#count--
    this.#bytes -= entry.cost
  }

  clear (): void {
    this.#oldest = this.#newest = null
    this.#count = this.#bytes = 0
  }

  #add (entry: Entry<Target>): void {
    if (!entry.remove) this.#count++
    this.#bytes += entry.cost
  }
}
