// The newest majors of npm's clients that this Node runs. `eventsource` 5, `eventsource-parser` 4 and `undici` 8 need Node
// 22.19. The package supports Node 20.19 too, which gets the majors before them. So the whole suite, which runs on the lowest
// and on the newest Node, tests both.
import { createRequire } from 'node:module'
import type { Transform } from 'node:stream'

const [major, minor] = process.versions.node.split('.').map(Number) as [number, number]
const newest = major > 22 || (major === 22 && minor >= 19)

export const { EventSource } = await (newest ? import('eventsource-5') : import('eventsource'))
export const { createParser } = await (newest ? import('eventsource-parser-4') : import('eventsource-parser'))
export const { EventSource: UndiciEventSource, fetch } = await (newest ? import('undici-8') : import('undici'))

interface UndiciState { lastEventId?: string, reconnectionTime: number }
interface UndiciEvent { type: string, options: { data: string, lastEventId: string | undefined } }

/** The parser of undici's `EventSource`, which is also Node's own. undici does not export it, so it has no types. */
export const { EventSourceStream } = createRequire(import.meta.url)(`${newest ? 'undici-8' : 'undici'}/lib/web/eventsource/eventsource-stream.js`) as {
  EventSourceStream: new (options: { eventSourceSettings: UndiciState, push: (event: UndiciEvent) => boolean }) => Transform
}
