import neostandard from 'neostandard'

/**
 * The rooms of lib/, floor by floor from the top: a folder, or a file beside the folders. A room imports from the floors below
 * its own, and never from its own floor or above. CONTRIBUTING.md has the drawing.
 */
export const floors = [
  ['index'],
  ['plugin'],
  ['hub', 'brokers'],
  ['client'],
  ['schemas', 'transport', 'history', 'options'],
  ['wire', 'observe'],
  ['names', 'address-key', 'broker-failure', 'guarded'],
  ['errors', 'reason', 'ip-address']
]
/** It runs in pages: it imports from no room, and no room imports it. */
const apart = 'browser'

/** The rooms that a room must not import from. */
function forbidden (room, floor) {
  return [...floors.slice(0, floor + 1).flat().filter(other => other !== room), apart]
}

/** Forbids relative imports that begin so. */
function restricted (files, prefix, rooms, message) {
  const patterns = [{ regex: `^${prefix}(?:${rooms.join('|')})(?:/|\\.js$)`, message }]
  return { files, rules: { 'no-restricted-imports': ['error', { patterns }] } }
}

const message = 'Imports point down: see the rooms in CONTRIBUTING.md.'
const rooms = floors.flatMap((names, floor) => names.flatMap(room => [
  restricted([`lib/${room}/**`], '(?:\\.\\./)+', forbidden(room, floor), message),
  restricted([`lib/${room}.ts`], '\\./', forbidden(room, floor), message)
]))

export default [
  ...neostandard({
    ts: true,
    ignores: ['test/bench/build/**', 'dist/**', 'build/**', '.tap/**', 'coverage/**', 'api/**', 'examples/.app-*/**']
  }),
  ...rooms,
  restricted([`lib/${apart}/**`], '(?:\\.\\./)+', floors.flat(), 'The client for pages stands alone.'),
  restricted(['types/*.ts'], '\\.\\./', ['lib'], 'The public types must not know how the hub is built.')
]
