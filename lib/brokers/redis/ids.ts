// Event ids: an epoch, the event's number in it, and when it was accepted.

/** Where a client says that it is. */
export interface Place {
  readonly epoch: string
  readonly n: number
  /** Milliseconds, by Redis's clock. */
  readonly time: number
}

const ID = /^([\w-]{8})\.(0|[1-9]\d{0,14})\.([0-9a-z]{1,9})$/

export function formatId (epoch: string, n: number, time: number): string {
  return `${epoch}.${n}.${time.toString(36)}`
}

export function parseId (id: string): Place | null {
  const parts = ID.exec(id)
  return parts === null ? null : { epoch: parts[1]!, n: Number(parts[2]), time: parseInt(parts[3]!, 36) }
}
