// A hub's metrics in a registry of prom-client. A registry needs little of a metric, so nothing of prom-client is imported. It must
// not know how the figures are counted: it reads them when the registry is read.
import type { SSEMetricsOptions, SSEMetricsRegister, SSEStats } from '../../types/index.js'
import { SSE_ERR_INVALID_OPTION } from '../errors.js'
import { guarded } from '../guarded.js'
import { FANOUT_BOUNDS, type FanoutTimer } from './fanout-timer.js'

type Labels = Readonly<Record<string, string>>
/** How prom-client makes one figure from those of all workers in a cluster. */
type Aggregator = 'sum' | 'min' | 'max'

interface Description {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly aggregator: Aggregator
}

interface Figure extends Description {
  /** Gives `null` where there is no figure. */
  readonly read: (stats: SSEStats) => number | null
}

/** A sample in the form of prom-client. */
interface Sample {
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
  /** Only where the name is not the metric's own. */
  readonly metricName?: string
}

/** What one hub gives to a metric. */
interface Series {
  samples (): Sample[]
  /** Sets a counter to 0. A gauge stays as it is. */
  reset (): void
}

const counter = (name: string, help: string, read: Figure['read']): Figure => ({ name, type: 'counter', help, aggregator: 'sum', read })
const gauge = (name: string, help: string, read: Figure['read'], aggregator: Aggregator = 'sum'): Figure => ({ name, type: 'gauge', help, aggregator, read })

const FIGURES: readonly Figure[] = [
  gauge('sse_clients', 'Open streams.', ({ clients }) => clients),
  gauge('sse_channels', 'Channels with at least one client.', ({ channels }) => channels),
  counter('sse_connections_total', 'Streams opened.', ({ connections }) => connections),
  counter('sse_refused_total', 'Streams refused because there were too many or the hub was closing.', ({ refused }) => refused),
  counter('sse_published_total', 'Events that the broker handed to this instance, whichever instance published them.', ({ published }) => published),
  counter('sse_delivered_total', 'Live events written, counted once per client.', ({ delivered }) => delivered),
  counter('sse_replayed_total', 'Events written from history, counted once per client.', ({ replayed }) => replayed),
  counter('sse_dropped_total', 'Events dropped for slow clients.', ({ dropped }) => dropped),
  counter('sse_conflated_total', 'Events that slow clients were spared, since a newer one of their key took their place.', ({ conflated }) => conflated),
  counter('sse_slow_disconnects_total', 'Clients disconnected because they read too slowly or not at all.', ({ slowDisconnects }) => slowDisconnects),
  counter('sse_written_bytes_total', 'Bytes of event stream written, without the transfer coding.', ({ bytesWritten }) => bytesWritten),
  gauge('sse_buffered_bytes', 'Bytes that wait for clients, in the hub and in their sockets.', ({ bufferedBytes }) => bufferedBytes),
  gauge('sse_history_events', 'Events kept.', ({ historyEvents }) => historyEvents),
  gauge('sse_history_bytes', 'Bytes that the kept events take, overhead included.', ({ historyBytes }) => historyBytes),
  gauge('sse_broker_up', 'Whether the broker takes events: 1 or 0.', ({ broker }) => broker && Number(broker.state === 'ready'), 'min'),
  gauge('sse_broker_lag_events', 'Events that the broker had and that were not delivered here, when that was looked at last.', ({ broker }) => broker && broker.lag, 'max'),
  gauge('sse_broker_round_trip_seconds', 'Time of the last round trip to the broker.', ({ broker }) => broker?.roundTrip == null ? null : broker.roundTrip / 1000, 'max'),
  counter('sse_broker_reconnects_total', 'How often the connection to the broker came back.', ({ broker }) => broker && broker.reconnects),
  counter('sse_broker_publish_failures_total', 'Publishes that failed at the broker.', ({ broker }) => broker && broker.publishFailures),
  counter('sse_broker_malformed_total', 'Entries at the broker that were no events.', ({ broker }) => broker && broker.malformed)
]

const FANOUT: Description = {
  name: 'sse_fanout_duration_seconds',
  type: 'histogram',
  help: 'Time from the delivery of an event by the broker until the last client that could be written to had its turn.',
  aggregator: 'sum'
}

/** One name in a registry. All hubs that use the registry share it. */
class Metric implements Description {
  // It is not readonly: a registry for OpenMetrics removes `_total` from the name of a counter.
  name: string
  readonly type: Description['type']
  readonly help: string
  readonly aggregator: Aggregator
  /** The series of each hub, by its labels. */
  readonly series = new Map<string, Series>()

  constructor (name: string, { type, help, aggregator }: Description) {
    this.name = name
    this.type = type
    this.help = help
    this.aggregator = aggregator
  }

  async get (): Promise<Description & { values: Sample[] }> {
    const { name, type, help, aggregator } = this
    return { name, type, help, aggregator, values: [...this.series.values()].flatMap(series => series.samples()) }
  }

  reset (): void {
    for (const series of this.series.values()) series.reset()
  }
}

/** One hub's metrics. */
export class Metrics {
  readonly #register: SSEMetricsRegister
  readonly #labels: Labels
  /** The labels as one text. Two hubs in one registry can't have the same. */
  readonly #key: string
  readonly #stats: () => SSEStats
  /** The metrics by their names in the registry. */
  readonly #metrics: ReadonlyMap<string, Metric>
  #snapshot: SSEStats | null = null

  /** @throws SSE_ERR_INVALID_OPTION where a name is taken, and what the registry throws; then nothing stays registered */
  constructor ({ register, prefix, labels }: Required<SSEMetricsOptions>, stats: () => SSEStats, fanout: FanoutTimer) {
    this.#register = register
    this.#labels = labels
    this.#key = JSON.stringify(Object.entries(labels).sort(([a], [b]) => a < b ? -1 : 1))
    this.#stats = stats
    const series = new Map<Description, Series>(FIGURES.map(figure => [figure, this.#figure(figure)]))
    series.set(FANOUT, this.#histogram(prefix + FANOUT.name, fanout))
    this.#metrics = new Map([...series.keys()].map(description => [prefix + description.name, this.#metric(prefix + description.name, description)]))
    try {
      for (const [description, ofHub] of series) {
        const metric = this.#metrics.get(prefix + description.name)!
        if (metric.series.size === 0) register.registerMetric(metric)
        metric.series.set(this.#key, ofHub)
      }
    } catch (error) {
      // The error says more than one of the removal.
      guarded(() => this.remove(), () => {})
      throw error
    }
  }

  /** Removes them from the registry. */
  remove (): void {
    for (const [name, metric] of this.#metrics) {
      metric.series.delete(this.#key)
      // The name may be of another hub by now, where the application has cleared the registry.
      if (metric.series.size === 0 && this.#register.getSingleMetric(name) === metric) this.#register.removeSingleMetric(name)
    }
  }

  /** The metric of a name: that of another hub where there is one, else a new one. */
  #metric (name: string, description: Description): Metric {
    const known = this.#register.getSingleMetric(name)
    if (known === undefined) return new Metric(name, description)
    if (!(known instanceof Metric)) {
      throw new SSE_ERR_INVALID_OPTION(`Option "metrics" of fastify-sse-hub is invalid: "register" has a metric "${name}" that is no hub's; give a "prefix"`)
    }
    if (known.series.has(this.#key)) {
      throw new SSE_ERR_INVALID_OPTION(`Option "metrics" of fastify-sse-hub is invalid: "register" has another hub's metrics, "${name}" among them, with the same labels; give each hub "labels" or a "prefix" of its own`)
    }
    return known
  }

  #figure ({ type, read }: Figure): Series {
    let zero = 0
    return {
      samples: () => {
        const value = read(this.#read())
        return value === null ? [] : [{ labels: this.#labels, value: value - zero }]
      },
      reset: () => { if (type === 'counter') zero = read(this.#read()) ?? 0 }
    }
  }

  #histogram (name: string, fanout: FanoutTimer): Series {
    return {
      samples: () => {
        let count = 0
        const buckets = fanout.counts.map((events, i) => {
          count += events
          return { metricName: `${name}_bucket`, labels: { le: FANOUT_BOUNDS[i] ?? '+Inf', ...this.#labels }, value: count }
        })
        return [...buckets,
          { metricName: `${name}_sum`, labels: this.#labels, value: fanout.sum },
          { metricName: `${name}_count`, labels: this.#labels, value: count }]
      },
      reset: () => fanout.reset()
    }
  }

  /** Reads once for all metrics of a scrape, because a broker may be asked at each read. A registry asks for all metrics in one turn. */
  #read (): SSEStats {
    if (this.#snapshot === null) {
      this.#snapshot = this.#stats()
      queueMicrotask(() => { this.#snapshot = null })
    }
    return this.#snapshot
  }
}
