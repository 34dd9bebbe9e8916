// Random programs over several clients and channels, for test/streams/properties.test.ts.
import fc from 'fast-check'
import { listeners } from './program-listeners.js'
import { channel, channels, slot } from './program-places.js'
import { publish } from './program-publishes.js'

const open = fc.record({
  slot,
  channels,
  replay: fc.oneof({ weight: 4, arbitrary: fc.constant('all' as const) }, { weight: 1, arbitrary: fc.constantFrom('missed' as const, 'none' as const) }),
  names: fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.constant(['a']) }),
  broadcast: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
  // Whether it sends the last id that its slot saw.
  resumes: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
  paused: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  /** When somebody first asks for the client's `signal`: at "connect", in the route's handler, or after its end. */
  signal: fc.constantFrom('connect' as const, 'handler' as const, 'end' as const)
})

const command = fc.oneof(
  { weight: 12, arbitrary: publish.map(publish => ({ do: 'publish' as const, publish })) },
  { weight: 2, arbitrary: fc.record({ publish, times: fc.integer({ min: 2, max: 4 }) }).map(burst => ({ do: 'burst' as const, ...burst })) },
  // This is more than the kernel takes for a client that does not read.
  { weight: 2, arbitrary: fc.record({ publish, times: fc.integer({ min: 7, max: 9 }) }).map(flood => ({ do: 'flood' as const, ...flood })) },
  { weight: 6, arbitrary: open.map(open => ({ do: 'open' as const, open })) },
  { weight: 2, arbitrary: fc.array(open, { minLength: 2, maxLength: 3 }).map(opens => ({ do: 'open at once' as const, opens })) },
  { weight: 3, arbitrary: slot.map(slot => ({ do: 'cut' as const, slot })) },
  { weight: 1, arbitrary: slot.map(slot => ({ do: 'close' as const, slot })) },
  { weight: 2, arbitrary: slot.map(slot => ({ do: 'pause' as const, slot })) },
  { weight: 2, arbitrary: slot.map(slot => ({ do: 'resume' as const, slot })) },
  { weight: 2, arbitrary: slot.map(slot => ({ do: 'direct' as const, slot })) },
  { weight: 1, arbitrary: fc.record({ slot, channel }).map(join => ({ do: 'join' as const, ...join })) },
  { weight: 1, arbitrary: fc.record({ slot, channel }).map(leave => ({ do: 'leave' as const, ...leave })) },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) }
)

export const program = fc.record({
  historySize: fc.constantFrom(0, 1, 3, 50),
  slowClient: fc.constantFrom('disconnect' as const, 'drop' as const),
  maxBufferedBytes: fc.constantFrom(30_000, 200_000),
  /** Whether the route gives the clients' ids. Otherwise they are random, and nothing can be sent to them. */
  stable: fc.boolean(),
  listeners,
  commands: fc.array(command, { minLength: 4, maxLength: 30, size: 'max' })
})

export type Open = typeof open extends fc.Arbitrary<infer Value> ? Value : never
export type Program = typeof program extends fc.Arbitrary<infer Value> ? Value : never
