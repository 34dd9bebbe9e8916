// Random programs over several clients and channels, for test/streams/properties.test.ts.
import fc from 'fast-check'

const CHANNELS = ['red', 'green', 'blue']
/** Places for clients: who comes back to one goes on where the one before was. */
export const SLOTS = 4
/** Bytes of an event: several in a write; larger than what may wait. */
export const SIZES = { small: 0, medium: 3000, large: 40_000 }

const channels = fc.subarray(CHANNELS)
const slot = fc.nat(SLOTS - 1)
const names = ['a', 'b']

const publish = fc.record({
  to: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...CHANNELS).map(channel => [channel]) },
    { weight: 2, arbitrary: fc.subarray(CHANNELS, { minLength: 1 }) },
    { weight: 2, arbitrary: fc.constant('all' as const) },
    { weight: 2, arbitrary: fc.constantFrom('c0' as const, 'c1' as const) }
  ),
  name: fc.constantFrom(...names),
  size: fc.oneof({ weight: 6, arbitrary: fc.constant('small' as const) }, { weight: 1, arbitrary: fc.constant('medium' as const) },
    { weight: 1, arbitrary: fc.constant('large' as const) }),
  transient: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  except: fc.oneof({ weight: 5, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.constantFrom('c0', 'c1') }),
  key: fc.oneof({ weight: 8, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.constantFrom('k', 'l') })
})

const open = fc.record({
  slot,
  channels,
  replay: fc.oneof({ weight: 4, arbitrary: fc.constant('all' as const) }, { weight: 1, arbitrary: fc.constantFrom('missed' as const, 'none' as const) }),
  names: fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.constant(['a']) }),
  broadcast: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
  // Comes back with the last id that its slot saw.
  resumes: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) }),
  paused: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) })
})

const command = fc.oneof(
  { weight: 12, arbitrary: publish.map(publish => ({ do: 'publish' as const, publish })) },
  { weight: 2, arbitrary: fc.record({ publish, times: fc.integer({ min: 2, max: 4 }) }).map(burst => ({ do: 'burst' as const, ...burst })) },
  // More than the kernel takes for who does not read.
  { weight: 2, arbitrary: fc.record({ publish, times: fc.integer({ min: 7, max: 9 }) }).map(flood => ({ do: 'flood' as const, ...flood })) },
  { weight: 6, arbitrary: open.map(open => ({ do: 'open' as const, open })) },
  { weight: 3, arbitrary: slot.map(slot => ({ do: 'cut' as const, slot })) },
  { weight: 1, arbitrary: slot.map(slot => ({ do: 'close' as const, slot })) },
  { weight: 2, arbitrary: slot.map(slot => ({ do: 'pause' as const, slot })) },
  { weight: 2, arbitrary: slot.map(slot => ({ do: 'resume' as const, slot })) },
  { weight: 2, arbitrary: slot.map(slot => ({ do: 'direct' as const, slot })) },
  { weight: 1, arbitrary: fc.record({ slot, channel: fc.constantFrom(...CHANNELS) }).map(join => ({ do: 'join' as const, ...join })) },
  { weight: 1, arbitrary: fc.record({ slot, channel: fc.constantFrom(...CHANNELS) }).map(leave => ({ do: 'leave' as const, ...leave })) },
  { weight: 1, arbitrary: fc.constant({ do: 'restart' as const }) }
)

export const program = fc.record({
  historySize: fc.constantFrom(0, 1, 3, 50),
  slowClient: fc.constantFrom('disconnect' as const, 'drop' as const),
  maxBufferedBytes: fc.constantFrom(30_000, 200_000),
  /** Clients have ids that the route gives; else random ones, to which nothing can be sent. */
  stable: fc.boolean(),
  commands: fc.array(command, { minLength: 4, maxLength: 30, size: 'max' })
})

export type Publish = typeof publish extends fc.Arbitrary<infer Value> ? Value : never
export type Open = typeof open extends fc.Arbitrary<infer Value> ? Value : never
export type Program = typeof program extends fc.Arbitrary<infer Value> ? Value : never
