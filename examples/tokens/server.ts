// An answer that is sent while it is made, in the response to a POST.
import { readFile } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import sse from 'fastify-sse-hub'

export const events = {
  token: Type.String(),
  done: Type.Object({ words: Type.Integer() })
}

/** Milliseconds for a word: about as fast as one reads. */
const PACE = 40

const tokens: FastifyPluginAsyncTypebox = async app => {
  await app.register(sse, { events })

  // Where an application would ask a language model, the README answers: with the paragraph that shares most words with
  // the question, rare ones above all.
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8')
  const paragraphs = readme.split(/\n{2,}/)
    .map(text => text.replaceAll('\n', ' ').replace(/\[(.+?)\]\(.+?\)/g, '$1').replace(/[`*]/g, ''))
    .filter(text => /^[A-Z]/.test(text))
  const wordsOf = (text: string): Set<string> => new Set(text.toLowerCase().match(/[a-z]{4,}/g))

  function find (question: string): string {
    const asked = wordsOf(question)
    const worth = (word: string): number => 1 / paragraphs.filter(paragraph => wordsOf(paragraph).has(word)).length
    const shared = (paragraph: string): number =>
      [...wordsOf(paragraph)].filter(word => asked.has(word)).reduce((sum, word) => sum + worth(word), 0)
    return paragraphs.reduce((best, paragraph) => shared(paragraph) > shared(best) ? paragraph : best)
  }

  const answers = { making: 0, unfinished: 0 }

  async function * words (text: string, signal: AbortSignal): AsyncGenerator<string> {
    for (const word of text.match(/\S+\s*/g) ?? []) {
      // Rejects when the reader leaves: what waits for something is told by the signal.
      await wait(PACE, undefined, { signal })
      yield word
    }
  }

  // `EventSource` can only GET; a page reads this one with `fetch`. It belongs to one reader: no channel, no broadcasts,
  // and nothing to resume.
  app.post('/answer', {
    schema: { body: Type.Object({ question: Type.String({ minLength: 1, maxLength: 500 }) }) }
  }, async (request, reply) => {
    const text = find(request.body.question)
    const client = reply.sse([], { broadcast: false, replay: 'none', retry: null })
    answers.making++
    // False where the reader left first.
    const whole = await client.stream(words(text, client.signal), { event: 'token' })
    answers.making--
    if (whole) await client.send('done', { words: text.match(/\S+/g)!.length })
    else answers.unfinished++
    client.close()
  })

  // For the page, which shows that the making stops.
  app.get('/answers', async () => answers)
}

export default tokens
