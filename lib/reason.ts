// What is said of a thing that was thrown. Not all that is thrown is an Error, nor can all of it be made a string.

export function reasonOf (thrown: unknown): string {
  try {
    return thrown instanceof Error ? thrown.message : String(thrown)
  } catch {
    return 'what was thrown has no text'
  }
}
