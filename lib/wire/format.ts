// The text format of an event stream (WHATWG HTML 9.2.5 and 9.2.6). It must not know of clients, channels or history.
//
// An event on the wire, without the fields that it lacks:
//   event: <name>\nretry: <milliseconds>\ndata: <line>\n[data: <line>\n …]id: <id>\n\n
// There is always a space after the colon, because a reader removes one: the value " a" is sent as "data:  a".
// The id comes last. Some clients store it as soon as they read it. If the connection broke after an id that came first, such a
// client would resume after an event that it never got.

const LINE_BREAK = /\r\n|\r|\n/

/**
 * One event. `id` and `name` must not contain a line break. Then nothing in the event can end a line early or start another
 * event.
 * @param retry milliseconds; -1 for none
 */
export function formatEvent (id: string | null, name: string, data: string, retry: number): string {
  return `event: ${name}\n${retry < 0 ? '' : formatRetry(retry)}${formatData(data)}${formatEnd(id)}`
}

function formatEnd (id: string | null): string {
  return id === null ? '\n' : `id: ${id}\n\n`
}

/**
 * The same event with another id.
 * @param id the one that it has
 * @param other `null` for none
 */
export function withId (event: string, id: string, other: string | null): string {
  return event.slice(0, -formatEnd(id).length) + formatEnd(other)
}

/** The data and the id of an event that `formatEvent` wrote. All line breaks in the data are LF. */
export function readEvent (event: string): { data: string, id: string } {
  const lines = event.split('\n')
  const valueOf = (field: string): string[] => lines.filter(line => line.startsWith(field)).map(line => line.slice(field.length))
  return { data: valueOf('data: ').join('\n'), id: valueOf('id: ')[0] ?? '' }
}

function formatData (data: string): string {
  if (!data.includes('\n') && !data.includes('\r')) return `data: ${data}\n`
  let lines = ''
  for (const line of data.split(LINE_BREAK)) lines += `data: ${line}\n`
  return lines
}

/** How long the client waits before its next reconnect. It counts once the line is read, without a blank line after it. */
export function formatRetry (milliseconds: number): string {
  return `retry: ${milliseconds}\n`
}

/** A comment, for which a client dispatches no event. With an id, it still sets the client's last event id. */
export function formatComment (id: string | null): string {
  return id === null ? ':\n\n' : `:\nid: ${id}\n\n`
}

/**
 * Tells a client that it lost events while it was connected.
 * @param lost how many; `null` where nobody knows
 */
export function formatGap (lost: number | null): string {
  return formatEvent(null, 'sse:gap', JSON.stringify({ lost }), -1)
}
