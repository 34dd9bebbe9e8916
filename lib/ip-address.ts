// Reads IP addresses. It must not know what they are read for.
import { isIPv4 } from 'node:net'

const IPV6_BYTES = 16

/**
 * The bytes of an address as Node writes it: 4 for `10.0.0.1`, 16 for `2001:db8::1`, `fe80::1%eth0` and `::ffff:10.0.0.1` (RFC 4291
 * 2.2). The zone of an address is left out.
 * @param ip must be valid
 */
export function addressBytes (ip: string): number[] {
  if (isIPv4(ip)) return ip.split('.').map(Number)
  const [before, after] = ip.split('%', 1)[0]!.split('::').map(part => part === '' ? [] : part.split(':').flatMap(groupBytes))
  if (after === undefined) return before!
  return [...before!, ...new Array<number>(IPV6_BYTES - before!.length - after.length).fill(0), ...after]
}

/** An IPv6 address may end with an IPv4 one. */
function groupBytes (group: string): number[] {
  if (isIPv4(group)) return group.split('.').map(Number)
  const value = parseInt(group, 16)
  return [value >> 8, value & 0xff]
}
