// A network between an instance and Redis that a test can break. The connection for reading and the one for writing break
// independently.
import { EventEmitter, once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import type { Test } from 'tap'
import { reset } from './reset.js'

/** The two connections of a broker. The proxy tells them apart by their commands. */
export type Role = 'reader' | 'writer'

interface Link {
  readonly client: Socket
  readonly server: Socket
  role: Role | null
  state: 'passes' | 'held' | 'dead' | 'armed' | 'swallows'
  /** Bytes that are held, with the socket for which they are. */
  held: Array<readonly [Socket, Buffer]>
}

export class RedisProxy {
  readonly url: string
  readonly #links = new Set<Link>()
  readonly #news = new EventEmitter()
  /** Which command is held, and how many of them pass before it. */
  #trap: { readonly command: string, before: number, readonly caught: () => void } | null = null

  private constructor (url: string) {
    this.url = url
  }

  /** Listens on a free port until the test ends. */
  static async start (t: Test, port: number): Promise<RedisProxy> {
    const server = createServer(client => proxy.#link(client, connect(port, '127.0.0.1')))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const proxy = new RedisProxy(`redis://127.0.0.1:${(server.address() as AddressInfo).port}`)
    t.teardown(() => {
      server.close()
      for (const link of proxy.#links) cut(link)
    })
    return proxy
  }

  /** Resets the connection. */
  async drop (role: Role): Promise<void> {
    cut(await this.#of(role))
  }

  /** Holds everything in both directions. The function that it resolves with lets it all pass. */
  async delay (role: Role): Promise<() => void> {
    const link = await this.#of(role)
    link.state = 'held'
    return () => this.#release(link)
  }

  /** Nothing passes any more, and neither side is told. */
  async halfOpen (role: Role): Promise<void> {
    (await this.#of(role)).state = 'dead'
  }

  /** Redis still gets the next request. Its answer is lost, and then the connection is cut. */
  async swallow (role: Role): Promise<void> {
    (await this.#of(role)).state = 'armed'
  }

  /** Holds the writer at a command, after `before` of them have passed. Resolves when the command has come. */
  async hold (command: string, before = 0): Promise<() => void> {
    await new Promise<void>(resolve => { this.#trap = { command, before, caught: resolve } })
    return () => { for (const link of this.#links) if (link.state === 'held') this.#release(link) }
  }

  /** Resolves with a connection of this role that works. */
  async #of (role: Role): Promise<Link> {
    for (;;) {
      for (const link of this.#links) if (link.role === role && link.state === 'passes') return link
      await once(this.#news, 'role')
    }
  }

  #link (client: Socket, server: Socket): void {
    const link: Link = { client, server, role: null, state: 'passes', held: [] }
    this.#links.add(link)
    for (const [from, to] of [[client, server], [server, client]] as const) {
      from.on('error', () => {}).on('close', () => {
        this.#links.delete(link)
        to.destroy()
      })
      from.on('data', part => {
        if (from === client) this.#look(link, part.toString('latin1').toLowerCase())
        if (from === client && link.state === 'armed') link.state = 'swallows'
        if (link.state === 'held') link.held.push([to, part])
        else if (link.state === 'swallows' && from === server) cut(link)
        else if (link.state !== 'dead') to.write(part)
      })
    }
  }

  #look (link: Link, text: string): void {
    if (link.role === null) {
      if (text.includes('\r\nxread\r\n')) link.role = 'reader'
      else if (text.includes('\r\nevalsha\r\n') || text.includes('\r\neval\r\n')) link.role = 'writer'
      if (link.role !== null) this.#news.emit('role')
    }
    const trap = this.#trap
    if (trap === null || !text.includes(`\r\n${trap.command}\r\n`) || trap.before-- > 0) return
    this.#trap = null
    link.state = 'held'
    trap.caught()
  }

  #release (link: Link): void {
    link.state = 'passes'
    for (const [to, part] of link.held) to.write(part)
    link.held = []
  }
}

function cut ({ client, server }: Link): void {
  reset(client)
  reset(server)
}
