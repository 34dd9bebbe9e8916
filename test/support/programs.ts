// Programs of the system that tests start, and ports for them to listen on.
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'

/** The path of a program. It is empty if the program is not installed. */
export function pathOf (program: string): string {
  return spawnSync('which', [program], { encoding: 'utf8' }).stdout.trim()
}

/** For a test's options: the reason to skip it, or `false`. If CI is set, no test is skipped. */
export function without (program: string): string | false {
  return pathOf(program) === '' && !process.env.CI ? `${program} is not installed` : false
}

export async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
