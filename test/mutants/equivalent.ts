// Mutants that no test can find, because they do the same. By file, and by the line of its compiled code before and after the
// change. The run leaves them out.
export const equivalent: Record<string, Record<string, string>> = {
  'lib/history/target-history.ts': {
    'line.floorTick = tick; → ;': 'a fill only lowers the floor, and who knows of the loss up to the old floor knows of this one'
  },
  'lib/transport/response-writer.ts': {
    'if (this.#socket !== null) return this.#socket.writableLength; → if (false) return this.#socket.writableLength;':
      'Node\'s response counts what waits in its socket too; this way is faster'
  },
  'lib/transport/tcp-table.ts': {
    'if (!this.isReadable || this.#reading !== null) return; → if (false) return;':
      'two readings at once find the same, and reading a file that is not there finds nothing'
  }
}
