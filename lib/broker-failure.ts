// A broker's failure as an error of the package. It stands apart from the other errors because they are all public.
import { SSE_ERR_BROKER_UNAVAILABLE } from './errors.js'
import { reasonOf } from './reason.js'

/** The error itself where it is one of the package's; else one that has it as its `cause`. */
export function unavailable (error: unknown): SSE_ERR_BROKER_UNAVAILABLE {
  if (error instanceof SSE_ERR_BROKER_UNAVAILABLE) return error
  // The broker did not expect this failure, so nobody can say whether it has stored the event.
  return new SSE_ERR_BROKER_UNAVAILABLE(reasonOf(error), true, { cause: error })
}
