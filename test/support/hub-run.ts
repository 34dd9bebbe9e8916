// Runs a program of test/support/hub-program.ts on real hubs with real clients and listeners, and on the model of what hubs
// promise. It compares what came with the model.
import { once } from 'node:events'
import { ActingListeners } from './acting-listeners.js'
import type { Open, Program } from './hub-program.js'
import { ModelledApp, nextNumber } from './modelled-app.js'
import type { ModelledConnection } from './modelled-connection.js'
import { SLOTS } from './program-places.js'

/** Gives each app its own socket, because an app that hangs does not free its socket. */
let apps = 0

/** One run of a program: on a real hub, and on the model. */
export class HubRun {
  readonly #program: Program
  /** The paths of its sockets begin with this. */
  readonly #path: string
  readonly #slots: Array<ModelledConnection | undefined> = new Array(SLOTS).fill(undefined)
  readonly #lastIds: Array<string | undefined> = new Array(SLOTS).fill(undefined)
  /** How often each of the listeners may still act. */
  readonly #left: number[]
  /** Errors in places where nobody sees a rejection. */
  readonly #failures: unknown[] = []
  #app!: ModelledApp
  #listeners!: ActingListeners

  constructor (program: Program, path: string) {
    this.#program = program
    this.#path = path
    this.#left = program.listeners.map(({ times }) => times)
  }

  /** Rejects if the hub does something else than the model. */
  async run (): Promise<void> {
    // An error of a listener must not come to either of these.
    process.on('uncaughtException', this.#fail)
    process.on('unhandledRejection', this.#fail)
    await this.#start()
    try {
      for (const command of this.#program.commands) {
        await this.#do(command)
        await this.#rest()
      }
      await this.#listeners.stop()
      if (this.#app.closing) await this.#restart()
      await this.#settle()
      this.#check()
      await this.#app.checkEnd()
      await this.#end()
    } finally {
      for (const { reader } of this.#app.connections) reader.destroy()
      await this.#app.close()
      process.off('uncaughtException', this.#fail)
      process.off('unhandledRejection', this.#fail)
    }
  }

  readonly #fail = (error: unknown): void => {
    this.#failures.push(error)
  }

  async #start (): Promise<void> {
    const { listeners } = this.#program
    const app = this.#app = await ModelledApp.start(this.#program, `${this.#path}-${++apps}`, what => this.#fail(new Error(what)))
    this.#listeners = new ActingListeners({ app, listeners, left: this.#left, slots: this.#slots, fail: this.#fail })
    app.heard.listenLast()
  }

  /** Called after each command. Checks what was heard until then. If a listener has closed the app, another one is started. */
  async #rest (): Promise<void> {
    await this.#app.heard.atRest()
    for (const connection of this.#app.connections) connection.atRest()
    if (this.#app.closing) await this.#restart()
    if (this.#failures.length > 0) throw this.#failures[0]
  }

  async #do (command: Program['commands'][number]): Promise<void> {
    const app = this.#app
    switch (command.do) {
      case 'publish': return app.publish(command.publish)
      case 'burst': {
        // The kernel has room for one burst, at most 4 times 40,000 bytes. So only readers that pause are slow.
        await this.#caughtUp()
        await Promise.all(Array.from({ length: command.times }, () => app.publish({ ...command.publish, key: undefined })))
        return this.#caughtUp()
      }
      case 'flood':
        for (let n = 0; n < command.times; n++) {
          await this.#caughtUp()
          await app.publish({ ...command.publish, size: 'large', key: undefined })
        }
        return this.#caughtUp()
      case 'open': return this.#open(command.open)
      case 'open at once':
        await Promise.all(command.opens.map(open => this.#open(open)))
        return
      case 'restart': return this.#restart()
    }
    const connection = this.#slots[command.slot]
    if (connection === undefined) return
    const { client, reader } = connection
    switch (command.do) {
      case 'cut': return connection.cut()
      case 'close': return client!.close()
      case 'pause':
        connection.paused = connection.mayBeSlow = true
        return reader.pause()
      case 'resume':
        connection.paused = false
        return reader.resume()
      case 'direct':
        connection.send('direct', nextNumber()).catch(this.#fail)
        return
      case 'join': return connection.join(command.channel)
      case 'leave': return connection.leave(command.channel)
    }
  }

  async #open (open: Open): Promise<void> {
    const app = this.#app
    const { slot } = open
    this.#slots[slot]?.cut()
    const id = this.#program.stable ? `c${slot % 2}` : undefined
    const lastId = open.resumes ? this.#lastIds[slot] : undefined
    const connection = await app.open(open, id, lastId, connection => { this.#slots[slot] = connection }, connection => this.#listeners.watch(connection, slot))
    if (connection === null) {
      if (!app.closing) throw new Error('a stream is refused')
      this.#slots[slot] = undefined
      return
    }
    const { reader } = connection
    reader.changes.on('change', () => {
      if (this.#slots[slot] === connection && !connection.wasCut) this.#lastIds[slot] = reader.lastEventId ?? this.#lastIds[slot]
    })
  }

  /** Closes the app and starts another one, which knows nothing of the first one's events. */
  async #restart (): Promise<void> {
    const { connections } = this.#app
    // The app would wait for clients that don't read.
    for (const connection of connections) if (connection.paused) connection.cut()
    await this.#end()
    this.#check()
    this.#slots.fill(undefined)
    await this.#start()
  }

  async #end (): Promise<void> {
    await this.#app.close()
    await this.#listeners.done()
    await this.#app.checkClosed()
    await this.#listeners.sent()
    if (this.#failures.length > 0) throw this.#failures[0]
    for (const event of ['connect', 'disconnect', 'join', 'leave'] as const) {
      if (!this.#listeners.ownsAll(event)) throw new Error(`somebody else listens to "${event}"`)
    }
  }

  #check (): void {
    const { slowClient } = this.#program
    for (const connection of this.#app.connections) connection.check(slowClient === 'drop')
  }

  /** Resolves when all clients that have always read have everything. */
  async #caughtUp (): Promise<void> {
    while (this.#app.connections.some(({ waits }) => waits)) await new Promise(resolve => setImmediate(resolve))
  }

  /** All clients read. Resolves when they have everything. */
  async #settle (): Promise<void> {
    await Promise.all(this.#app.connections.map(async connection => {
      const { reader, wasCut, paused } = connection
      if (wasCut) return
      if (paused) reader.resume()
      connection.paused = false
      const marked = (): boolean => reader.events.at(-1)?.event === 'mark'
      while (connection.open && !reader.closed && !marked()) {
        // The mark may be dropped, like other events that wait. Then it is sent again.
        if (await connection.send('mark', nextNumber())) while (!reader.closed && !marked()) await once(reader.changes, 'change')
        else await new Promise(resolve => setImmediate(resolve))
      }
      if (!connection.open) await reader.untilClosed()
    }))
  }
}
