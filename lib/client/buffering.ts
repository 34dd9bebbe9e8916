// Sums the bytes that wait for clients. It looks only at clients for which some may wait: a hub has many that are idle. It must not
// know why they wait.

interface Buffered {
  /** Bytes that wait for the client. */
  readonly bufferedBytes: number
  /** Whether it is in the scheduler's line. */
  readonly queued: boolean
}

export class Buffering {
  /** Clients that are not in line, or whose sockets have not taken all. Those for which nothing waits any more leave at the next sum. */
  readonly #clients = new Set<Buffered>()

  add (client: Buffered): void {
    this.#clients.add(client)
  }

  delete (client: Buffered): void {
    this.#clients.delete(client)
  }

  /** @param inLine the clients in the scheduler's line */
  bytes (inLine: Iterable<Buffered>): number {
    let bytes = 0
    for (const client of inLine) bytes += client.bufferedBytes
    for (const client of this.#clients) {
      const { queued, bufferedBytes } = client
      if (bufferedBytes === 0) this.#clients.delete(client)
      else if (!queued) bytes += bufferedBytes
    }
    return bytes
  }
}
