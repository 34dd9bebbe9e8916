// Many readers of one stream in a process of their own, so that the server's process has its open files for itself. It is told
// the path of the server's Unix socket, how many readers to open, and whether they stall. Readers that stall read only the first
// bytes. It prints a line with `open` when all of them have begun, and one with what they saw when all connections are closed.
import { once } from 'node:events'
import { connect } from 'node:net'
import { requestText } from '../raw-client.js'

/** How many readers connect at a time. A Unix socket refuses more connections than fit into its queue. */
const AT_A_TIME = 100
/** The last chunk of a response that ends as it should (RFC 9112 7.1). */
const LAST_CHUNK = '0\r\n\r\n'

const [path, count, how] = process.argv.slice(2) as [string, string, 'read' | 'stall']
const saw = { closed: 0, whole: 0 }
const ends: Array<Promise<void>> = []
let next = 0
// A socket that is not read from does not keep a process running.
const running = setInterval(() => {}, 60_000)

async function open (reader: number): Promise<void> {
  const socket = connect(path)
  // The end of what came.
  let last = ''
  socket.setEncoding('latin1')
  socket.on('data', (text: string) => { last = (last + text).slice(-LAST_CHUNK.length) })
  socket.on('error', () => {})
  ends.push(once(socket, 'close').then(() => {
    saw.closed++
    if (last === LAST_CHUNK) saw.whole++
  }))
  socket.write(requestText({ path: `/room?user=${reader}` }))
  await once(socket, 'data')
  if (how === 'stall') socket.pause()
}

async function openInTurn (): Promise<void> {
  while (next < Number(count)) await open(next++)
}

await Promise.all(Array.from({ length: AT_A_TIME }, openInTurn))
console.log('open')
await Promise.all(ends)
clearInterval(running)
console.log(JSON.stringify(saw))
