// A real pino logger that keeps its lines in memory, for tests of the log.
import { EventEmitter, once } from 'node:events'
import { pino, type Logger } from 'pino'

export interface LogLine {
  readonly level: number
  readonly msg?: string
  readonly plugin?: string
  readonly clientId?: string
  readonly reason?: string
  readonly channels?: string[]
  readonly aboveMaxClients?: number
  readonly aboveMaxClientsPerKey?: number
  readonly err?: { readonly message: string, readonly code?: string }
}

export const DEBUG = 20
export const WARN = 40
export const ERROR = 50

export class MemoryLog {
  /** For Fastify's `loggerInstance`. */
  readonly logger: Logger
  /** All lines, as they would be in a file. */
  text = ''
  readonly #written = new EventEmitter()

  constructor () {
    this.logger = pino({ level: 'trace' }, {
      write: (line: string) => {
        this.text += line
        this.#written.emit('line')
      }
    })
  }

  get lines (): LogLine[] {
    return this.text.split('\n').filter(line => line !== '').map(line => JSON.parse(line) as LogLine)
  }

  /** The lines that a user should look into. */
  get complaints (): LogLine[] {
    return this.lines.filter(({ level }) => level >= WARN)
  }

  /** Resolves with the first line that holds a condition. */
  async line (condition: (line: LogLine) => boolean): Promise<LogLine> {
    for (;;) {
      const line = this.lines.find(condition)
      if (line !== undefined) return line
      await once(this.#written, 'line')
    }
  }
}
