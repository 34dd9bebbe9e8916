// The names of a hub's keys. All hold the hub's name in braces, so that they share one slot of a cluster.

/** Behind a target's name, its member of a `last` for what it was told of states. */
export const STATES = '\0\0'

/** The member of a `last` that tells that it is there at all. No target is called that. */
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

  /** What begins the names of the targets' histories. */
  histories (epoch: string): string {
    return `${this.#hub}h:${epoch}:`
  }

  /** What begins the names of the targets' states, and of the orders of these. */
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

  /** Who is connected to an instance. */
  present (instance: string): string {
    return `${this.#hub}present:${instance}`
  }
}
