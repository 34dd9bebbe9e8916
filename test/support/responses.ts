// Parses the bytes of a connection into its responses, strictly (RFC 9112).

export interface ParsedResponse {
  readonly status: number
  readonly head: string
  readonly body: Buffer
}

/** The complete responses. Throws unless each is a response of a known length. */
export function parseResponses (bytes: Buffer): ParsedResponse[] {
  const responses: ParsedResponse[] = []
  let at = 0
  while (at < bytes.length) {
    const headEnd = bytes.indexOf('\r\n\r\n', at)
    if (headEnd === -1) break
    const head = bytes.toString('latin1', at, headEnd)
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1])
    if (Number.isNaN(status)) throw new Error(`not a response: ${JSON.stringify(head.slice(0, 200))}`)
    const found = bodyAt(bytes, headEnd + 4, head)
    if (found === null) break
    responses.push({ status, head, body: found.body })
    at = found.end
  }
  return responses
}

function bodyAt (bytes: Buffer, begin: number, head: string): { body: Buffer, end: number } | null {
  if (/^transfer-encoding: chunked$/im.test(head)) return chunksAt(bytes, begin)
  const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1])
  if (Number.isNaN(length)) throw new Error(`a response of unknown length: ${head}`)
  const end = begin + length
  return bytes.length < end ? null : { body: bytes.subarray(begin, end), end }
}

function chunksAt (bytes: Buffer, begin: number): { body: Buffer, end: number } | null {
  const parts: Buffer[] = []
  let at = begin
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd === -1) return null
    const line = bytes.toString('latin1', at, lineEnd)
    if (!/^[0-9a-f]+$/i.test(line)) throw new Error(`not a chunk size: ${JSON.stringify(line.slice(0, 100))}`)
    const size = parseInt(line, 16)
    const end = lineEnd + 2 + size
    if (bytes.length < end + 2) return null
    if (bytes.toString('latin1', end, end + 2) !== '\r\n') throw new Error('a chunk does not end with CRLF')
    parts.push(bytes.subarray(lineEnd + 2, end))
    at = end + 2
    if (size === 0) return { body: Buffer.concat(parts), end: at }
  }
}
