// The `send()`s of one client that wait until the socket has taken their events. It must not know of events or sockets.

interface PendingSend {
  /** How many events must have left the line. */
  readonly mark: number
  readonly settle: (taken: boolean) => void
}

export class PendingSends {
  /** In the order of their marks. */
  #sends: PendingSend[] = []

  get count (): number {
    return this.#sends.length
  }

  /** Resolves to true when so many events have left the line for the socket, to false when that can't be any more. */
  add (mark: number): Promise<boolean> {
    return new Promise(resolve => this.#sends.push({ mark, settle: resolve }))
  }

  /** So many events have left the line for the socket. */
  taken (mark: number): void {
    let count = 0
    while (count < this.#sends.length && this.#sends[count]!.mark <= mark) this.#sends[count++]!.settle(true)
    this.#sends.splice(0, count)
  }

  /** The events after one mark, up to another one, were dropped. */
  dropped (after: number, to: number): void {
    const isDropped = ({ mark }: PendingSend): boolean => mark > after && mark <= to
    const dropped = this.#sends.filter(isDropped)
    this.#sends = this.#sends.filter(send => !isDropped(send))
    for (const { settle } of dropped) settle(false)
  }

  /** The client is gone. */
  abandon (): void {
    for (const { settle } of this.#sends.splice(0)) settle(false)
  }
}
