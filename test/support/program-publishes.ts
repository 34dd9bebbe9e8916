// What random programs publish.
import fc from 'fast-check'
import { channel, CHANNELS } from './program-places.js'

/** Additional bytes of an event. Several medium events fit into one write. A large event is more than may wait, if that is 30,000. */
export const SIZES = { small: 0, medium: 3000, large: 40_000 }
const NAMES = ['a', 'b']

export const publish = fc.record({
  to: fc.oneof(
    { weight: 6, arbitrary: channel.map(channel => [channel]) },
    { weight: 2, arbitrary: fc.subarray([...CHANNELS], { minLength: 1 }) },
    { weight: 2, arbitrary: fc.constant('all' as const) },
    { weight: 2, arbitrary: fc.constantFrom('c0' as const, 'c1' as const) }
  ),
  name: fc.constantFrom(...NAMES),
  size: fc.oneof({ weight: 6, arbitrary: fc.constant('small' as const) }, { weight: 1, arbitrary: fc.constant('medium' as const) },
    { weight: 1, arbitrary: fc.constant('large' as const) }),
  transient: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  except: fc.oneof({ weight: 5, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.constantFrom('c0', 'c1') }),
  key: fc.oneof({ weight: 8, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.constantFrom('k', 'l') })
})

export type Publish = typeof publish extends fc.Arbitrary<infer Value> ? Value : never
