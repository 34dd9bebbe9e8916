// Turns a broker's failure into an error of the package, also where the broker does not answer. It is not in errors.ts, because all
// of that file is public. It must not know of any broker.
import { SSE_ERR_BROKER_UNAVAILABLE } from './errors.js'
import { reasonOf } from './reason.js'

/** The error itself, if it is of that class already; else a new one that has it as its `cause`. */
export function unavailable (error: unknown): SSE_ERR_BROKER_UNAVAILABLE {
  if (error instanceof SSE_ERR_BROKER_UNAVAILABLE) return error
  // The broker did not expect this failure, so nobody can say whether it has stored the event.
  return new SSE_ERR_BROKER_UNAVAILABLE(reasonOf(error), true, { cause: error })
}

/**
 * The same answer, if it comes in time. A later answer is ignored, whatever it is.
 * @param timeout in milliseconds
 * @throws SSE_ERR_BROKER_UNAVAILABLE
 */
export async function answerWithin<Answer> (timeout: number, answer: Promise<Answer>): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    // An app that is closed meanwhile must not keep its process until then.
    timer = setTimeout(() => reject(new SSE_ERR_BROKER_UNAVAILABLE('it did not answer', false)), timeout).unref()
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}
