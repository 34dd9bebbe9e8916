// The text of Linux's tables of TCP connections. test/slow-clients/vanish.test.ts shows what it is for.
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import t from 'tap'
import { connectionKey, readRows, type UnansweredRow } from '../../lib/transport/tcp-rows.js'

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n'
const A = '0100007F:1F90 0A00000A:C350'

/** What is found in a text that comes in parts of some length. */
function found (text: string, digits: number, length = 8192): UnansweredRow[] {
  const rows: UnansweredRow[] = []
  const buffer = Buffer.alloc(16_384)
  let kept = 0
  for (let at = 0; at < text.length; at += length) {
    kept = readRows(buffer, kept + buffer.write(text.slice(at, at + length), kept, 'latin1'), digits, row => rows.push(row))
  }
  return rows
}

function row (number: number, ends: string, state: string, timer: string, retransmits: string, probes = 0, uid = 0): string {
  return `${String(number).padStart(4)}: ${ends} ${state} 00000100:00000000 ${timer} ${retransmits} ${String(uid).padStart(5)} ${String(probes).padStart(8)} 1337 2 000000001234abcd 820 4 30 1 7\n`
}

t.test('a row is found where bytes were sent again, or a full peer was asked for room, and nothing was answered', async t => {
  const text = HEAD +
    row(0, A, '01', '00:00000000', '00000000') +
    row(1, A, '01', '01:00000014', '00000000') +
    row(2, A, '01', '01:00000064', '00000003') +
    row(99_999, A, '08', '01:00000064', '00000010', 0, 4_000_000_000) +
    row(4, A, '01', '04:00000014', '00000000') +
    row(5, A, '01', '04:000000C8', '00000000', 12) +
    row(6, A, '04', '01:00000064', '00000003')
  const rows = [
    { key: A, port: 0xC350, tries: 3, wait: 1000 },
    { key: A, port: 0xC350, tries: 16, wait: 1000 },
    { key: A, port: 0xC350, tries: 12, wait: 2000 }
  ]
  t.same(found(text, 8), rows)
  for (const length of [1, 7, 150, 151]) t.same(found(text, 8, length), rows, `in parts of ${length} bytes`)
})

t.test('rows of IPv6 have longer addresses', async t => {
  const ends = `${'0'.repeat(24)}01000000:1F90 0000000000000000FFFF00000A00000A:C350`
  t.same(found(HEAD + row(0, ends, '01', '01:00000064', '00000003'), 32), [{ key: ends, port: 0xC350, tries: 3, wait: 1000 }])
})

t.test('what is no table has no rows', async t => {
  for (const text of ['', '\n\n', ':\n', 'x'.repeat(8000), ': 1 1 1 1\n'.repeat(99), `${row(0, A, '01', '01:00000064', '00000003').slice(0, 80)}\n`]) t.same(found(text, 8), [])
})

const skip = existsSync('/proc/self/net/tcp6') ? false : 'this system has no such tables, or no IPv6'
t.test('a socket\'s key is in the kernel\'s table, over IPv4, IPv6 and an IPv4 address that is mapped', { skip }, async t => {
  for (const [host, to, table] of [['127.0.0.1', '127.0.0.1', 'tcp'], ['::1', '::1', 'tcp6'], ['::', '127.0.0.1', 'tcp6']] as const) {
    const server = createServer().listen(0, host)
    t.teardown(() => server.close())
    await once(server, 'listening')
    const client = connect((server.address() as AddressInfo).port, to)
    t.teardown(() => client.destroy())
    const [socket] = await once(server, 'connection') as [Socket]
    t.teardown(() => socket.destroy())
    t.ok(readFileSync(`/proc/self/net/${table}`, 'latin1').includes(` ${connectionKey(socket)} `), connectionKey(socket))
  }
})

t.test('an address may have a zone', async t => {
  const key = (remoteAddress: string): string => connectionKey({ localAddress: '::1', localPort: 1, remoteAddress, remotePort: 2 } as Socket)
  t.equal(key('fe80::1%eth0'), key('fe80:0:0:0:0:0:0:1'))
})
