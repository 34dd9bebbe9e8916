// Makes a self-signed certificate for localhost. A certificate in the repository would expire.
import { execFileSync } from 'node:child_process'

export interface Certificate {
  readonly key: string
  readonly cert: string
}

export function selfSigned (): Certificate {
  const pem = execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', '-', '-out', '-'
  ], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  const at = pem.indexOf('-----BEGIN CERTIFICATE-----')
  return { key: pem.slice(0, at), cert: pem.slice(at) }
}
