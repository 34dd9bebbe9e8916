// Reads the text of Linux's tables of TCP connections, /proc/net/tcp and tcp6 (proc_net_tcp.rst in the kernel's documentation), and
// names a connection as they do. It must not know where the text comes from, or what it is read for.
import type { Socket } from 'node:net'
import { endianness } from 'node:os'
import { addressBytes } from '../ip-address.js'

/** A connection whose peer has left at least one try unanswered. */
export interface UnansweredRow {
  /** The connection, as `connectionKey` names it. */
  readonly key: string
  /** The peer's port. */
  readonly port: number
  /** How often the kernel sent bytes again, or asked whether there is room for some, since the peer's last answer. */
  readonly tries: number
  /** Milliseconds until the kernel tries again. Then `tries` grows, unless the peer has answered. */
  readonly wait: number
}

const NEWLINE = 10
const COLON = 58
const ZERO = 48
/** Timers in the table: data must be sent again, or a peer without room for data must be asked for room. */
const RETRANSMIT = 49
const PROBE = 52
/** The states in which the process may still have the connection: it is open, or the peer has sent its FIN. */
const OPEN = new Set(['01', '08'])
/** The table's unit of time, in milliseconds. It is the same on all machines, whatever the kernel's own clock. */
const TICK = 10

const isLittleEndian = endianness() === 'LE'

/**
 * Calls `found` for each row in `buffer` whose peer leaves tries unanswered, and moves an unfinished last row to the front.
 * Returns the length of that row. A row of a quiet connection costs some 50 ns.
 * @param digits hexadecimal digits of an address: 8 in /proc/net/tcp, 32 in tcp6
 */
export function readRows (buffer: Buffer, length: number, digits: number, found: (row: UnansweredRow) => void): number {
  // After the row's number and ": " come both ends, as in "0100007F:1F90 0100007F:C350", and then columns of fixed width.
  const ends = 2 * (digits + 5) + 1
  const timer = ends + 23
  const retries = ends + 41
  let start = 0
  while (true) {
    const end = buffer.indexOf(NEWLINE, start)
    if (end === -1 || end >= length) break
    const at = buffer.indexOf(COLON, start) + 2
    const kind = buffer[at + timer]
    const waits = kind === PROBE || (kind === RETRANSMIT && (buffer[at + retries] !== ZERO || buffer[at + retries - 1] !== ZERO))
    if (waits && at + retries < end) readRow(buffer.toString('latin1', at, end), found)
    start = end + 1
  }
  buffer.copyWithin(0, start, length)
  return length - start
}

function readRow (text: string, found: (row: UnansweredRow) => void): void {
  const [local, remote, state, , timer, retransmits, , probes] = text.split(/ +/) as string[]
  const tries = parseInt(retransmits!, 16) + Number(probes)
  if (tries > 0 && OPEN.has(state!)) {
    found({ key: `${local} ${remote}`, port: parseInt(remote!.slice(-4), 16), tries, wait: parseInt(timer!.slice(3), 16) * TICK })
  }
}

/** The connection of a socket as the tables name it. */
export function connectionKey ({ localAddress, localPort, remoteAddress, remotePort }: Socket): string {
  return `${endKey(localAddress ?? '', localPort ?? 0)} ${endKey(remoteAddress ?? '', remotePort ?? 0)}`
}

/** Each four bytes of an address are printed as one number of the machine. Example: `127.0.0.1` is `0100007F` on most. */
function endKey (address: string, port: number): string {
  const bytes = addressBytes(address)
  let text = ''
  for (let at = 0; at < bytes.length; at++) text += hex(bytes[isLittleEndian ? at ^ 3 : at]!, 2)
  return `${text}:${hex(port, 4)}`
}

function hex (value: number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, '0')
}
