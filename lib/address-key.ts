// Whom a request counts for by its address. It must not know what is counted.
import { isIPv6 } from 'node:net'
import type { SSEAddressKeyOptions } from '../types/index.js'
import { SSE_ERR_INVALID_OPTION } from './errors.js'
import { addressBytes } from './ip-address.js'

/** What most providers give one customer (RFC 6177, RFC 7421). */
const USUAL_PREFIX = 64
const BITS = 128
const GROUP_BITS = 16
/** The bytes before the IPv4 address in an IPv4-mapped one (RFC 4291 2.5.5.2). */
const MAPPED = String([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff])

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
  if (!Number.isInteger(ipv6Prefix) || ipv6Prefix < 1 || ipv6Prefix > BITS) {
    throw new SSE_ERR_INVALID_OPTION('Option "ipv6Prefix" of addressKey() is invalid: it must be an integer from 1 to 128')
  }
  // Over a Unix socket there is no address, whatever Fastify's type says.
  const ip = request.ip as string | undefined
  if (ip === undefined || !isIPv6(ip)) return ip
  const bytes = addressBytes(ip)
  if (String(bytes.slice(0, 12)) === MAPPED) return bytes.slice(12).join('.')
  const groups: string[] = []
  for (let bits = ipv6Prefix; bits > 0; bits -= GROUP_BITS) {
    const at = 2 * groups.length
    const spare = Math.max(0, GROUP_BITS - bits)
    groups.push(((bytes[at]! << 8 | bytes[at + 1]!) >> spare << spare).toString(16))
  }
  return `${groups.join(':')}${2 * groups.length < bytes.length ? '::' : ''}/${ipv6Prefix}`
}
