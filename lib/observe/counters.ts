// What the hub counts since its start. `SSEStats` says what each figure is. It must not know who counts.

export class Counters {
  connections = 0
  refused = 0
  published = 0
  delivered = 0
  replayed = 0
  dropped = 0
  conflated = 0
  slowDisconnects = 0
  bytesWritten = 0
}
