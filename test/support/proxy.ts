// Real proxies. Each has its own configuration and folder.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort } from './programs.js'
import { root } from './root.js'

export type ProxyName = 'nginx' | 'haproxy' | 'caddy'

const FILES = { nginx: 'nginx.conf', haproxy: 'haproxy.cfg', caddy: 'Caddyfile' }
const ARGUMENTS = {
  nginx: (folder: string) => ['-p', folder, '-c', 'main.conf', '-e', 'stderr'],
  haproxy: (folder: string) => ['-db', '-f', join(folder, FILES.haproxy)],
  caddy: (folder: string) => ['run', '--adapter', 'caddyfile', '--config', join(folder, FILES.caddy)]
}

/** The configuration around a file of `/etc/nginx/conf.d`. */
const NGINX = `
daemon off;
pid nginx.pid;
events {}
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  include nginx.conf;
}
`

/** The configuration from `examples/proxies/`, which users copy. */
export function exampleFile (name: ProxyName): string {
  return readFileSync(`${root}examples/proxies/${FILES[name]}`, 'utf8')
}

/**
 * Starts a proxy in front of an app. It ends when the test ends. In its configuration the app is on 127.0.0.1:3000, and the
 * proxy listens on port 8080.
 * @returns the proxy's port
 */
export async function startProxy (t: Test, name: ProxyName, configuration: string, appPort: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), `sse-${name}-`))
  const port = await freePort()
  const text = configuration.replaceAll('127.0.0.1:3000', `127.0.0.1:${appPort}`).replace(/\b8080\b/, String(port))
  writeFileSync(join(folder, FILES[name]), name === 'caddy' ? `{\n\tadmin off\n}\n${text}` : text)
  if (name === 'nginx') writeFileSync(join(folder, 'main.conf'), NGINX)
  const child = spawn(name, ARGUMENTS[name](folder), { env: { ...process.env, HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder }, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let over = false
  for (const stream of [child.stdout, child.stderr]) stream.on('data', part => { output += part })
  const exited = once(child, 'exit').then(() => { over = true })
  t.teardown(async () => {
    child.kill('SIGTERM')
    await exited
    rmSync(folder, { recursive: true })
  })
  while (!await accepts(port)) {
    if (over) throw new Error(`${name} ended: ${output}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  return port
}

async function accepts (port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const accepted = await once(socket, 'connect').then(() => true, () => false)
  socket.destroy()
  return accepted
}
