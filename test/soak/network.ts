// A network of the run's own, in which a host can vanish without a word: no FIN, no RST, no ACK, as behind a pulled cable.
// It takes Linux, `unshare` and `ip`, and root or user namespaces that anyone may make.
import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'

const OWN = 'SOAK_OWN_NETWORK'
const FLAGS = [['--net'], ['--net', '--map-root-user']]
/**
 * Rules for single addresses come before the one that makes all of loopback local. The kernel gives up waiting for an
 * answer after 3 s in place of 15 minutes, and holds 256 kB that nobody reads in place of 4 MB: what else takes an hour
 * takes seconds.
 */
const SET_UP = `ip link set lo up &&
ip rule add pref 20 lookup local && ip rule del pref 0 &&
echo 3 > /proc/sys/net/ipv4/tcp_retries2 &&
echo '4096 16384 262144' > /proc/sys/net/ipv4/tcp_wmem &&
echo '4096 131072 524288' > /proc/sys/net/ipv4/tcp_rmem`

/** Whether this process is in such a network. */
export const isOwn = process.env[OWN] === '1'

// Whoever made the network has gone: nothing in it is to go on.
if (isOwn) process.on('disconnect', () => process.exit(1))

/** How to make one here; `null` where none can be made. */
function flags (): readonly string[] | null {
  return FLAGS.find(flags => spawnSync('unshare', [...flags, 'sh', '-c', SET_UP]).status === 0) ?? null
}

/** Runs this program again in a network of its own, and resolves with its exit code; with `null` where there can be none. */
export async function runInOwn (): Promise<number | null> {
  const how = flags()
  if (how === null) return null
  const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  const child = spawn('unshare', [...how, 'sh', '-c', `${SET_UP} && exec "$@"`, 'sh', ...command], {
    env: { ...process.env, [OWN]: '1' },
    stdio: ['inherit', 'inherit', 'inherit', 'ipc']
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
  const [code] = await once(child, 'exit') as [number | null]
  return code ?? 1
}

/** From here on nothing leaves an address, and nothing reaches it. */
export async function unplug (address: string): Promise<void> {
  for (const direction of ['from', 'to']) await promisify(execFile)('ip', ['rule', 'add', 'pref', '10', direction, address, 'blackhole'])
}
