// The text format of an event stream (WHATWG HTML 9.2.5 and 9.2.6). It must not know of clients, channels or history.
//
// An event on the wire, fields that it lacks left out:
//   event: <name>\nretry: <milliseconds>\ndata: <line>\n[data: <line>\n …]id: <id>\n\n
// The space after the colon is always there, so that one of the value's own is kept. The id comes last: some clients take it
// as soon as they read it, and would never get the rest of an event whose connection breaks behind it.

const LINE_BREAK = /\r\n|\r|\n/

/** One event. Without a line break in id and name, nothing in it can end a line early or start another event. */
export function formatEvent (id: string | null, name: string, data: string, retry: number): string {
  return `event: ${name}\n${retry < 0 ? '' : formatRetry(retry)}${formatData(data)}${formatEnd(id)}`
}

function formatEnd (id: string | null): string {
  return id === null ? '\n' : `id: ${id}\n\n`
}

/** The same event with another id. */
export function withId (event: string, id: string, other: string | null): string {
  return event.slice(0, -formatEnd(id).length) + formatEnd(other)
}

/** An event's data and id, as `formatEvent` wrote them, with LF for all line breaks. */
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

/** How long to wait before the next reconnect. Takes effect as soon as the line is read, without a blank line. */
export function formatRetry (milliseconds: number): string {
  return `retry: ${milliseconds}\n`
}

/** A comment, which dispatches nothing; with an id, the client's last event id moves on all the same. */
export function formatComment (id: string | null): string {
  return id === null ? ':\n\n' : `:\nid: ${id}\n\n`
}

/**
 * Tells a client that events were lost for it while it was connected.
 * @param lost how many; `null` where nobody knows
 */
export function formatGap (lost: number | null): string {
  return formatEvent(null, 'sse:gap', JSON.stringify({ lost }), -1)
}
