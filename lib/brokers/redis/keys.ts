// The names of a hub's keys in Redis. All have the hub's name in braces, e.g. `{sse}:log`, so that a cluster keeps them in one
// slot. What the keys hold is not known here: script.ts says it.

/** After a target's name: the member of `last` for its newest event about a state. */
export const STATES = '\0\0'

/** The member of `last` that is there as long as `last` is. No target has this name. */
export const LAST = '\0'

export class Keys {
  readonly meta: string
  readonly log: string
  readonly leases: string
  readonly #hub: string

  /** @param hub the hub's name, without braces */
  constructor (hub: string) {
    this.#hub = `{${hub}}:`
    this.meta = this.#hub + 'meta'
    this.log = this.#hub + 'log'
    this.leases = this.#hub + 'leases'
  }

  /** A target's name follows, as in the next two. */
  histories (epoch: string): string {
    return `${this.#hub}h:${epoch}:`
  }

  states (epoch: string): string {
    return `${this.#hub}s:${epoch}:`
  }

  orders (epoch: string): string {
    return `${this.#hub}o:${epoch}:`
  }

  last (epoch: string): string {
    return `${this.#hub}last:${epoch}`
  }

  publisher (id: string): string {
    return `${this.#hub}publisher:${id}`
  }

  idempotency (key: string): string {
    return `${this.#hub}key:${key}`
  }

  /** The clients of an instance. */
  present (instance: string): string {
    return `${this.#hub}present:${instance}`
  }
}
