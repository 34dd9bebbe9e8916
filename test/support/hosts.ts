// Three hosts on this machine, each in a network namespace of its own: a server, a router, and a host of readers. The kernel's
// settings are the defaults. At the router an address can vanish: its packets are dropped, and nobody is told, as after a pulled
// cable or behind a NAT that has forgotten a connection. It needs Linux, `unshare`, `ip`, and either root or user namespaces that
// all users may make.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'

const FLAGS = [['--net'], ['--net', '--map-root-user']]

/** The command that runs a program on a host of its own; `null` if the system does not allow that. */
export function ownHost (): readonly string[] | null {
  const flags = FLAGS.find(flags => spawnSync('unshare', [...flags, 'ip', 'link', 'set', 'lo', 'up']).status === 0)
  return flags === undefined ? null : ['unshare', ...flags]
}

export const SERVER = '10.77.1.1'
export const SERVER6 = 'fd77:1::1'

/** The addresses of one reader. */
export function addressesOf (reader: number): readonly [v4: string, v6: string] {
  return [`10.77.2.${reader}`, `fd77:2::${reader.toString(16)}`]
}

type Host = (command: string) => void

/** The process's own host is the server's. */
export class Hosts {
  readonly #server: Host
  readonly #router: Host

  private constructor (server: Host, router: Host) {
    this.#server = server
    this.#router = router
  }

  /** @param readersPid a process on the readers' host */
  static async connect (readersPid: number): Promise<Hosts> {
    // It ends with this process, which holds the other end of its input.
    const child = spawn('unshare', ['--net', 'sh', '-c', 'echo ready; read line'], { stdio: ['pipe', 'pipe', 'inherit'] })
    await once(child.stdout, 'data')
    const server = host([])
    const router = host(['nsenter', '--target', String(child.pid), '--net'])
    const readers = host(['nsenter', '--target', String(readersPid), '--net'])
    server(`ip link set lo up; ip link add wire type veth peer name server netns ${child.pid}`)
    router(`ip link add readers type veth peer name wire netns ${readersPid}`)
    router('echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding')
    for (const [at, link, network] of [[server, 'wire', '1'], [readers, 'wire', '2']] as const) {
      at(`ip address add 10.77.${network}.1/24 dev ${link}; ip address add fd77:${network}::1/64 dev ${link} nodad; ip link set ${link} up`)
    }
    router(`ip address add 10.77.1.254/24 dev server; ip address add fd77:1::254/64 dev server nodad; ip link set server up;
      ip address add 10.77.2.254/24 dev readers; ip address add fd77:2::254/64 dev readers nodad; ip link set readers up`)
    server('ip route add 10.77.2.0/24 via 10.77.1.254; ip route add fd77:2::/64 via fd77:1::254')
    readers('ip route add 10.77.1.0/24 via 10.77.2.254; ip route add fd77:1::/64 via fd77:2::254')
    for (let reader = 10; reader < 40; reader++) {
      const [v4, v6] = addressesOf(reader)
      readers(`ip address add ${v4}/24 dev wire; ip address add ${v6}/64 dev wire nodad`)
    }
    return new Hosts(server, router)
  }

  /**
   * @param how `blackhole`: the router drops the reader's packets. `unreachable`: it also tells the server that the reader's host is
   *   not there. `unroutable`: the server itself has no way to the reader any more.
   */
  vanish (reader: number, how: 'blackhole' | 'unreachable' | 'unroutable' = 'blackhole'): void {
    const at = how === 'unroutable' ? this.#server : this.#router
    for (const address of addressesOf(reader)) at(`ip route add ${how === 'unreachable' ? how : 'blackhole'} ${address}`)
  }

  /** The reader is back. */
  comeBack (reader: number): void {
    for (const address of addressesOf(reader)) this.#router(`ip route del blackhole ${address}`)
  }

  /** The server's own link goes down. */
  unlink (): void {
    this.#server('ip link set wire down')
  }
}

/** The commands of a host. */
function host (enter: readonly string[]): Host {
  return command => {
    const [program, ...args] = [...enter, 'sh', '-e', '-c', command]
    execFileSync(program!, args)
  }
}
