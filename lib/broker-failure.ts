// Turns a broker's failure into an error of the package. It is not in errors.ts, because all of that file is public. It must not
// know of any broker.
import { SSE_ERR_BROKER_UNAVAILABLE } from './errors.js'
import { reasonOf } from './reason.js'

/** The error itself, if it is of that class already; else a new one that has it as its `cause`. */
export function unavailable (error: unknown): SSE_ERR_BROKER_UNAVAILABLE {
  if (error instanceof SSE_ERR_BROKER_UNAVAILABLE) return error
  // The broker did not expect this failure, so nobody can say whether it has stored the event.
  return new SSE_ERR_BROKER_UNAVAILABLE(reasonOf(error), true, { cause: error })
}
