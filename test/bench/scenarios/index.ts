// All scenarios, in the order in which they run.
import { compressed } from './compressed.js'
import { connect } from './connect.js'
import { fanout } from './fanout.js'
import { idle } from './idle.js'
import { channels, publish } from './publish.js'
import { rates } from './rate.js'
import { redis } from './redis.js'
import { replays, replayShapes } from './replay.js'
import type { Scenario } from './scenario.js'
import { slow } from './slow.js'
import { states } from './states.js'

export const SCENARIOS: readonly Scenario[] = [
  publish, channels, connect, ...fanout, ...rates, replays, ...replayShapes, slow, ...states, ...compressed, ...redis, idle
]
