// Medians, spreads and confidence intervals of a few runs.

/** Two-sided 95 % quantiles of Student's t. The first has one degree of freedom. */
const T95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]

export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
  /** The interval of the mean. It has no bounds if there are too few runs. */
  readonly interval95: readonly [low: number, high: number]
  readonly runs: readonly number[]
}

export function summary (runs: readonly number[]): Summary {
  const sorted = [...runs].sort((a, b) => a - b)
  const count = sorted.length
  const mean = sorted.reduce((sum, value) => sum + value, 0) / count
  const variance = sorted.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1)
  const half = count < 2 ? Infinity : (T95[count - 2] ?? 2.2) * Math.sqrt(variance / count)
  return {
    median: (sorted[Math.floor((count - 1) / 2)]! + sorted[Math.floor(count / 2)]!) / 2,
    min: sorted[0]!,
    max: sorted[count - 1]!,
    interval95: [mean - half, mean + half],
    runs
  }
}

/** With three significant digits. */
export function number (value: number): string {
  return value.toLocaleString('en', { maximumSignificantDigits: 3 })
}
