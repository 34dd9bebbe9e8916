// The run's own network, in which a host can vanish silently: no FIN, no RST, no ACK, as after a pulled cable. It needs Linux,
// `unshare`, `ip`, and either root or user namespaces that all users may make.
import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'

const OWN = 'SOAK_OWN_NETWORK'
const FLAGS = [['--net'], ['--net', '--map-root-user']]
/**
 * The rules for single addresses come before the rule that makes all of loopback local. The kernel waits 3 s for an answer
 * instead of 15 minutes, and buffers 256 kB instead of 4 MB. So tests that would take an hour take seconds.
 */
const SET_UP = `ip link set lo up &&
ip rule add pref 20 lookup local && ip rule del pref 0 &&
echo 3 > /proc/sys/net/ipv4/tcp_retries2 &&
echo '4096 16384 262144' > /proc/sys/net/ipv4/tcp_wmem &&
echo '4096 131072 524288' > /proc/sys/net/ipv4/tcp_rmem`

/** Whether this process is in such a network. */
export const isOwn = process.env[OWN] === '1'

// The process that made the network has ended, so this one ends as well.
if (isOwn) process.on('disconnect', () => process.exit(1))

/** How `unshare` can make a network on this machine, or `null` if it can't. */
function flags (): readonly string[] | null {
  return FLAGS.find(flags => spawnSync('unshare', [...flags, 'sh', '-c', SET_UP]).status === 0) ?? null
}

/** Runs this program again in its own network. Resolves with its exit code, or with `null` if there can be no network. */
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

/** From now on nothing leaves this address, and nothing reaches it. */
export async function unplug (address: string): Promise<void> {
  for (const direction of ['from', 'to']) await promisify(execFile)('ip', ['rule', 'add', 'pref', '10', direction, address, 'blackhole'])
}
