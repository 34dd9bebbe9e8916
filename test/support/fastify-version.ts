// For tests of things that the lowest supported version of Fastify does not have.
import Fastify from 'fastify'

const { version } = Fastify()

/** For a test's options: the reason to skip it, or `false`. */
export function withoutFastify (since: string, what: string): string | false {
  return version.localeCompare(since, 'en', { numeric: true }) < 0 && `Fastify ${version}: ${what} since ${since}`
}
