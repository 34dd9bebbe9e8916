// Mutants that no test can find, because they do the same. By file, and by the line of its compiled code before and after the
// change. The run leaves them out.
export const equivalent: Record<string, Record<string, string>> = {
  'lib/history/target-history.ts': {
    'line.floorTick = tick; → ;': 'a fill only lowers the floor, and who knows of the loss up to the old floor knows of this one'
  },
  'lib/history/line.ts': {
    'const guess = turn % 2 === 0 && highest > lowest ? low + Math.floor((high - low) * (item.position - lowest) / (highest - lowest)) : low + high >>> 1; → const guess = turn * 2 === 0 && highest > lowest ? low + Math.floor((high - low) * (item.position - lowest) / (highest - lowest)) : low + high >>> 1;':
      'the search finds the same with any guess, only later'
  },
  'lib/transport/response-writer.ts': {
    'if (this.#socket !== null) return this.#socket.writableLength; → if (false) return this.#socket.writableLength;':
      'Node\'s response counts what waits in its socket too; this way is faster'
  },
  'lib/transport/tcp-rows.ts': {
    'const waits = kind === PROBE || kind === RETRANSMIT && (buffer[at + retries] !== ZERO || buffer[at + retries - 1] !== ZERO); → const waits = kind === PROBE || kind === RETRANSMIT && (buffer[at + retries] !== ZERO || buffer[at + retries + 1] !== ZERO);':
      'a row that comes through here without a try is refused by readRow; this way is faster'
  },
  'lib/transport/tcp-table.ts': {
    'if (!this.isReadable || this.#reading !== null) return; → if (false) return;':
      'two readings at once find the same, and reading a file that is not there finds nothing'
  }
}
