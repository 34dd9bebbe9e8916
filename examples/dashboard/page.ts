// Draws charts of what the server measures.
import type { Static } from '@sinclair/typebox'
import Plot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { element } from '../element.js'
import { follow } from '../follow.js'
import type { events } from './server.js'

type Metrics = Static<typeof events.metrics>

const state = element('state', HTMLSpanElement)
const answer = element('answer', HTMLSpanElement)

/** How many samples the charts show. The server keeps the same number. */
const SHOWN = 120
/** In pixels, as in the style sheet. */
const HEIGHT = 180
const samples: Metrics[] = []

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const short = new Intl.NumberFormat('en', { maximumFractionDigits: 2 })
const percent = new Intl.NumberFormat('en', { style: 'percent', maximumFractionDigits: 0 })
const clock = new Intl.DateTimeFormat('en', { timeStyle: 'medium', hourCycle: 'h23' })
const sizes = ['kilobyte', 'megabyte', 'gigabyte'].map(unit => new Intl.NumberFormat('en', { style: 'unit', unit, maximumSignificantDigits: 3 }))
const bytes = {
  format (count: number) {
    const size = count < 1e6 ? 0 : count < 1e9 ? 1 : 2
    return sizes[size]!.format(count / 1000 ** (size + 1))
  }
}

const charts = [
  chart('cpu', percent, ({ cpu }) => cpu.process),
  chart('memory', bytes, ({ memory }) => memory.resident),
  chart('requests', short, ({ requests }) => requests.perSecond)
]

function chart (id: string, format: Pick<Intl.NumberFormat, 'format'>, value: (metrics: Metrics) => number): () => void {
  const box = element(id, HTMLDivElement)
  // The colour is read at each drawing, so that it changes with the light or dark theme.
  const colourOf = (of: HTMLElement) => (): string => getComputedStyle(of).color
  const axis = { stroke: colourOf(document.body), grid: { stroke: () => 'rgb(128 128 128 / .2)', width: 1 }, ticks: { show: false } }
  const plot = new Plot({
    width: box.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: false, y: false } },
    scales: { y: { range: (_plot, _least, most) => [0, Math.max(most * 1.1, 0.1)] } },
    axes: [
      { ...axis, size: 30, space: 90, incrs: [1, 2, 5, 10, 15, 30, 60], values: (_plot, ticks) => ticks.map(tick => clock.format(tick * 1000)) },
      { ...axis, size: 66, values: (_plot, ticks) => ticks.map(tick => format.format(tick)) }
    ],
    series: [{}, { stroke: colourOf(box), width: 2, points: { show: false } }]
  }, [[], []], box)
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: HEIGHT })).observe(box)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => plot.redraw(false, true))
  return () => plot.setData([samples.map(({ time }) => time), samples.map(value)])
}

const write = (id: string, text: string): void => { element(id, HTMLElement).textContent = text }

let drawing = 0

follow<typeof events>('/dashboard/stream', {
  onStart () { samples.length = 0 },
  on: {
    metrics (metrics) {
      samples.push(metrics)
      if (samples.length > SHOWN) samples.shift()
      // The history has two minutes, and all its events come at once. They are drawn together.
      cancelAnimationFrame(drawing)
      drawing = requestAnimationFrame(draw)
    }
  },
  onState (now) {
    state.textContent = now
    state.dataset.state = now
  }
})

function draw (): void {
  for (const redraw of charts) redraw()
  const { time, cpu, memory, requests, hub } = samples.at(-1)!
  write('span', whole.format(time - samples[0]!.time))
  write('clients', whole.format(hub.clients))
  write('deliveries', whole.format(hub.deliveriesPerSecond))
  write('bytes', bytes.format(hub.bytesPerSecond))
  write('buffered', bytes.format(hub.bufferedBytes))
  write('slow', whole.format(hub.slowDisconnects))
  write('cpu-now', percent.format(cpu.process))
  write('memory-now', bytes.format(memory.resident))
  write('requests-now', `${short.format(requests.perSecond)} a second`)
  write('load', short.format(cpu.load))
  write('cores', whole.format(cpu.cores))
  write('used', bytes.format(memory.used))
  write('available', bytes.format(memory.available))
  write('total', whole.format(requests.total))
  write('failed', whole.format(requests.failed))
}

async function streams (method: 'POST' | 'DELETE'): Promise<void> {
  const response = await fetch('/dashboard/streams', { method })
  const { streams } = await response.json() as { streams: number }
  answer.textContent = `${whole.format(streams)} further streams`
}

element('more', HTMLButtonElement).addEventListener('click', () => streams('POST'))
element('fewer', HTMLButtonElement).addEventListener('click', () => streams('DELETE'))
