// The listeners that random programs have: what they listen to, how often they act, and what they do then.
import fc from 'fast-check'
import { channel, slot } from './program-places.js'
import { publish } from './program-publishes.js'

/** The client that the event is about, or the one of a slot. */
const whose = fc.oneof({ weight: 3, arbitrary: fc.constant('its' as const) }, { weight: 2, arbitrary: slot })
/** The channel that the event is about, or another one. */
const where = fc.oneof({ weight: 2, arbitrary: fc.constant('same' as const) }, { weight: 3, arbitrary: channel })
/** The index of one of the program's listeners. There may be no listener with this index. */
const which = fc.nat(5)

const act = fc.oneof(
  { weight: 10, arbitrary: fc.record({ publish, awaited: fc.boolean() }).map(publish => ({ do: 'publish' as const, ...publish })) },
  { weight: 4, arbitrary: whose.map(whose => ({ do: 'close' as const, whose })) },
  { weight: 4, arbitrary: fc.record({ whose, where }).map(join => ({ do: 'join' as const, ...join })) },
  { weight: 4, arbitrary: fc.record({ whose, where }).map(leave => ({ do: 'leave' as const, ...leave })) },
  { weight: 3, arbitrary: whose.map(whose => ({ do: 'send' as const, whose })) },
  { weight: 1, arbitrary: fc.constant({ do: 'close the app' as const }) },
  { weight: 2, arbitrary: which.map(which => ({ do: 'add' as const, which })) },
  { weight: 2, arbitrary: which.map(which => ({ do: 'remove' as const, which })) },
  { weight: 1, arbitrary: fc.constant({ do: 'remove itself' as const }) }
)
type RandomAct = typeof act extends fc.Arbitrary<infer Value> ? Value : never
/** Takes so long that the hub goes on with its queue in a later turn. Before that turn, the program may do something else. */
const DAWDLE = { do: 'dawdle' as const }

const ends = fc.oneof(
  { weight: 6, arbitrary: fc.constant('returns' as const) },
  {
    weight: 6,
    arbitrary: fc.constantFrom('throws an error' as const, 'throws a text' as const, 'throws nothing' as const, 'rejects' as const,
      'never settles' as const, 'returns a thenable' as const, 'returns a thenable that throws' as const)
  }
)

const listener = fc.record({
  on: fc.constantFrom('connect' as const, 'disconnect' as const, 'join' as const, 'leave' as const, 'signal' as const),
  /** For `signal` only: the listener is added to the signal of each client that comes to this slot. */
  slot,
  once: fc.oneof({ weight: 3, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  /** How often it acts in the whole program. Without this limit, a program might never end. */
  times: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 3 }) }, { weight: 1, arbitrary: fc.integer({ min: 4, max: 20 }) }),
  acts: fc.array(act, { minLength: 1, maxLength: 3, size: 'max' }),
  ends
})

export type Act = RandomAct | typeof DAWDLE
type RandomListener = typeof listener extends fc.Arbitrary<infer Value> ? Value : never
export type Listener = Omit<RandomListener, 'acts'> & { acts: Act[] }

/**
 * Two listeners that cause each other: a client that joins must leave, and a client that leaves must join. In some programs they
 * also take long, and then close a client that may have come meanwhile. Nobody has heard of that client yet.
 */
const circle = fc.tuple(fc.integer({ min: 2, max: 40 }), fc.boolean(), slot).map(([times, dawdles, slot]): Listener[] => {
  const close = { do: 'close' as const, whose: slot }
  const usual = { slot: 0, once: false, times, ends: 'returns' as const }
  return [
    { ...usual, on: 'join', acts: [{ do: 'leave', whose: 'its', where: 'same' }] },
    { ...usual, on: 'leave', acts: [{ do: 'join', whose: 'its', where: 'same' }] },
    ...dawdles ? [{ ...usual, on: 'leave' as const, acts: [DAWDLE] }, { ...usual, on: 'join' as const, acts: [close] }, { ...usual, on: 'leave' as const, acts: [close] }] : []
  ]
})

const some: fc.Arbitrary<Listener[]> = fc.array(listener, { minLength: 1, maxLength: 5, size: 'max' })

/** Many programs have no listeners. */
export const listeners = fc.oneof(
  { weight: 2, arbitrary: fc.constant<Listener[]>([]) },
  { weight: 3, arbitrary: some },
  { weight: 1, arbitrary: fc.tuple(circle, some).map(listeners => listeners.flat()) }
)
