// The `send()`s of one client that wait until the socket has taken their events. A mark is the number of an event in line: the
// mark of the seventh event is 7, and its send is settled when 7 events have left. It must not know of events or sockets.

interface PendingSend {
  /** How many events must have left the line. */
  readonly mark: number
  readonly settle: (taken: boolean) => void
}

export class PendingSends {
  /** Lowest mark first. */
  #sends: PendingSend[] = []

  get count (): number {
    return this.#sends.length
  }

  /** Resolves to true when `mark` events have left the line for the socket, and to false when that can't happen any more. */
  add (mark: number): Promise<boolean> {
    return new Promise(resolve => this.#sends.push({ mark, settle: resolve }))
  }

  /** Called when the first `mark` events have left the line for the socket. */
  taken (mark: number): void {
    let count = 0
    while (count < this.#sends.length && this.#sends[count]!.mark <= mark) this.#sends[count++]!.settle(true)
    this.#sends.splice(0, count)
  }

  /** Called when events were dropped. With 4 and 7 these are the events 5, 6 and 7. */
  dropped (after: number, to: number): void {
    const isDropped = ({ mark }: PendingSend): boolean => mark > after && mark <= to
    const dropped = this.#sends.filter(isDropped)
    this.#sends = this.#sends.filter(send => !isDropped(send))
    for (const { settle } of dropped) settle(false)
  }

  /** Called when the client is gone. */
  abandon (): void {
    for (const { settle } of this.#sends.splice(0)) settle(false)
  }
}
