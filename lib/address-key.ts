// Whom a request counts for by its address. It must not know what is counted.
import { isIPv4, isIPv6 } from 'node:net'
import type { SSEAddressKeyOptions } from '../types/index.js'
import { SSE_ERR_INVALID_OPTION } from './errors.js'

/** What most providers give one customer (RFC 6177, RFC 7421). */
const USUAL_PREFIX = 64
const GROUPS = 8
const GROUP_BITS = 16
/** The groups before the IPv4 address in an IPv4-mapped one (RFC 4291 2.5.5.2). */
const MAPPED = '0:0:0:0:0:ffff'

/**
 * A key by the address of a request, `request.ip`, for {@link SSEPluginOptions.key}. One IPv6 host has as many addresses as it
 * likes, so an IPv6 address counts by its network. Examples: `192.0.2.1` gives `192.0.2.1`, and so does `::ffff:192.0.2.1`, as a
 * server that listens on both families sees the same client. `2001:db8:1:2:3::4` gives `2001:db8:1:2::/64`.
 *
 * It is the default of `key`. One's own may use it where there is no user:
 * ```ts
 * key: request => request.user?.id ?? addressKey(request, { ipv6Prefix: 56 })
 * ```
 * @param request one with an `ip`; Fastify's {@link https://fastify.dev/docs/latest/Reference/Server/#trustproxy | trustProxy} says
 *   whose address that is
 * @returns the key; what is no address is its own key, and `undefined`, as over a Unix socket, is none
 * @throws {@link SSE_ERR_INVALID_OPTION} where `ipv6Prefix` is not an integer from 1 to 128
 */
export function addressKey (request: { readonly ip: string }, options: SSEAddressKeyOptions = {}): string | undefined {
  const { ipv6Prefix = USUAL_PREFIX } = options
  if (!Number.isInteger(ipv6Prefix) || ipv6Prefix < 1 || ipv6Prefix > GROUPS * GROUP_BITS) {
    throw new SSE_ERR_INVALID_OPTION('Option "ipv6Prefix" of addressKey() is invalid: it must be an integer from 1 to 128')
  }
  // Over a Unix socket there is no address, whatever Fastify's type says.
  const ip = request.ip as string | undefined
  if (ip === undefined || !isIPv6(ip)) return ip
  const groups = groupsOf(ip)
  if (groups.slice(0, 6).map(hex).join(':') === MAPPED) return bytesOf(groups.slice(6)).join('.')
  const kept = groups.slice(0, Math.ceil(ipv6Prefix / GROUP_BITS))
  const spare = kept.length * GROUP_BITS - ipv6Prefix
  kept.push(kept.pop()! >> spare << spare)
  return `${kept.map(hex).join(':')}${kept.length < GROUPS ? '::' : ''}/${ipv6Prefix}`
}

/** The eight groups of a valid IPv6 address (RFC 4291 2.2), without its zone. */
function groupsOf (ip: string): number[] {
  const [before, after] = ip.split('%')[0]!.split('::').map(part => part === '' ? [] : part.split(':').flatMap(parsed))
  if (after === undefined) return before!
  return [...before!, ...Array<number>(GROUPS - before!.length - after.length).fill(0), ...after]
}

/** The group, or the two groups of an IPv4 address at the end. */
function parsed (text: string): number[] {
  if (!isIPv4(text)) return [parseInt(text, 16)]
  const [first, second, third, fourth] = text.split('.').map(Number)
  return [first! * 256 + second!, third! * 256 + fourth!]
}

function bytesOf (groups: readonly number[]): number[] {
  return groups.flatMap(group => [group >> 8, group & 0xff])
}

function hex (group: number): string {
  return group.toString(16)
}
