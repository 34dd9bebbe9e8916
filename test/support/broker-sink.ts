// The hub's side of a broker, for tests of the broker alone.
import type { BrokerEvent, BrokerSink } from '../../lib/index.js'

/** A test gives only the fields that it is about. The others accept everything and do nothing. */
export function brokerSink (given: Partial<BrokerSink> = {}): BrokerSink {
  return {
    deliver: () => 0,
    skipTo () {},
    recipients: () => 0,
    presence () {},
    historySize: 50,
    historyMaxAge: Infinity,
    log: { warn () {}, error () {} },
    ...given
  }
}

export function brokerEvent (given: Partial<BrokerEvent> = {}): BrokerEvent {
  const targets = given.targets ?? ['']
  return { targets, name: 'n', data: '1', retry: -1, except: '', compress: true, key: '', remove: false, raw: false, transient: false, kept: given.transient === true ? [] : targets, ...given }
}
