// A network between a client and a server. A test can cut it.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { Test } from 'tap'
import { reset } from './reset.js'

export class TcpProxy {
  readonly address: string
  readonly #sockets: Set<Socket>
  readonly #state: { cut: boolean }

  private constructor (address: string, sockets: Set<Socket>, state: { cut: boolean }) {
    this.address = address
    this.#sockets = sockets
    this.#state = state
  }

  /** Listens on a free port until the test ends. */
  static async start (t: Test, target: string): Promise<TcpProxy> {
    const { hostname, port } = new URL(target)
    const sockets = new Set<Socket>()
    const state = { cut: false }
    const server = createServer(socket => {
      if (state.cut) return reset(socket)
      const other = connect(Number(port), hostname)
      for (const [from, to] of [[socket, other], [other, socket]] as const) {
        sockets.add(from)
        from.on('error', () => {}).on('close', () => {
          sockets.delete(from)
          to.destroy()
        })
        from.pipe(to)
      }
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const proxy = new TcpProxy(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets, state)
    t.teardown(() => {
      proxy.cut()
      server.close()
    })
    return proxy
  }

  /** Resets all connections, and every new one. */
  cut (): void {
    this.#state.cut = true
    for (const socket of this.#sockets) reset(socket)
  }

  restore (): void {
    this.#state.cut = false
  }
}
