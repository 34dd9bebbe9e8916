// The application's logger, as the hub uses it. A logger is the application's code: its streams, serializers and mixins may publish
// or throw. So lines are written when the hub's work is done. What a logger throws is dropped, because there is no other place to
// report it. This file must not know what is logged.
import type { FastifyBaseLogger } from 'fastify'
import type { BrokerLog } from '../../types/index.js'
import { guarded } from '../guarded.js'
import type { Work } from './work.js'

export class HubLog implements BrokerLog {
  readonly #log: FastifyBaseLogger
  readonly #work: Work

  constructor (log: FastifyBaseLogger, work: Work) {
    this.#log = log
    this.#work = work
  }

  debug (details: object, message: string): void {
    this.#write('debug', details, message)
  }

  warn (details: object, message: string): void {
    this.#write('warn', details, message)
  }

  error (details: object, message: string): void {
    this.#write('error', details, message)
  }

  #write (level: 'debug' | 'warn' | 'error', details: object, message: string): void {
    this.#work.after(() => guarded(() => this.#log[level](details, message), () => {}))
  }
}
