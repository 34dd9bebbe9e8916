// What an entry of the log tells of an instance's clients, and how a client stands in Redis. It must not know what instances do
// with that.
import type { BrokerMember } from '../../../types/broker.js'

export type PackedMember = [clientId: string, metadata: unknown, channels: readonly string[]]

/** The names are short, since an entry may hold 500 members. */
export interface PresenceEntry {
  /** The instance. */
  readonly i: string
  /** Members that are new or changed, each with its key. */
  readonly s?: ReadonlyArray<[key: string, ...PackedMember]>
  /** Keys of members that left. */
  readonly d?: readonly string[]
  /** The instance is gone with all of its members. */
  readonly g?: 1
}

export function packMember ({ clientId, metadata, channels }: BrokerMember): PackedMember {
  return [clientId, metadata, channels]
}

export function unpackMember ([clientId, metadata, channels]: PackedMember): BrokerMember {
  return { clientId, metadata, channels }
}

/** The entry that says that an instance is gone. */
export function goneEntry (instance: string): string {
  return JSON.stringify({ i: instance, g: 1 } satisfies PresenceEntry)
}
