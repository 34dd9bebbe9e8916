// What a test asks of Fastify that its lowest supported version has not.
import Fastify from 'fastify'

const { version } = Fastify()

/** For a test's options: why it is skipped, or false. */
export function withoutFastify (since: string, what: string): string | false {
  return version.localeCompare(since, 'en', { numeric: true }) < 0 && `Fastify ${version}: ${what} since ${since}`
}
