// Finds the epoch in which an instance starts: the one that Redis has if it can be trusted, else a new one. It must not know of
// events.
import type { RedisConnection } from './connection.js'
import type { Keys } from './keys.js'
import { readLogHead, type LogHead } from './log-head.js'

/** Wait before the other instances are asked again whether they vouch for Redis, in milliseconds. */
const PATIENCE = 100

export interface EpochHost {
  readonly keys: Keys
  /** Makes an epoch if there is none. With `reset` it replaces this one, which can't be trusted. */
  renew (epoch: string, reset: boolean): Promise<void>
  /** Whether another instance has said lately that it is alive. */
  othersAlive (): Promise<boolean>
}

/**
 * Finds the epoch in force and the head of its log. Redis may have restarted from an older copy: it had events up to 90, and now
 * up to 70. Only an instance that has read event 90 can tell. So after a restart of Redis another instance has to vouch for it.
 * If there is no other instance, a new epoch begins.
 */
export async function findEpoch (connection: RedisConnection, host: EpochHost): Promise<LogHead & { readonly epoch: string }> {
  let epoch = ''
  for (;;) {
    const head = await readLogHead(connection, host.keys, epoch)
    if (head.epoch === null || head.newest === null) await host.renew(epoch, false)
    // Read again: `whole` is about the epoch that was asked for.
    else if (head.epoch !== epoch) epoch = head.epoch
    else if (!head.whole) await host.renew(epoch, true)
    else if (await connection.vouch(host.keys.meta, epoch, head.n, false)) return { ...head, epoch }
    // The others may be about to vouch.
    else if (await host.othersAlive()) await new Promise(resolve => setTimeout(resolve, PATIENCE))
    else await host.renew(epoch, true)
  }
}
