// The answer to a POST is sent word by word, while it is made.
import { readFile } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import sse from 'fastify-sse-hub'

export const events = {
  token: Type.String(),
  done: Type.Object({ words: Type.Integer() })
}

/** Milliseconds for a word: about the speed of reading. */
const PACE = 40

const tokens: FastifyPluginAsyncTypebox = async app => {
  await app.register(sse, { events })

  // An application would ask a language model here. This example answers with the paragraph of the README that shares the
  // most words with the question. Rare words count more.
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
      // It rejects when the reader leaves, because the signal is aborted then.
      await wait(PACE, undefined, { signal })
      yield word
    }
  }

  // `EventSource` can send only a GET, so the page reads this stream with `fetch`. The stream belongs to one reader: it has no
  // channel, gets no broadcasts, and can't resume.
  app.post('/answer', {
    schema: { body: Type.Object({ question: Type.String({ minLength: 1, maxLength: 500 }) }) }
  }, async (request, reply) => {
    const text = find(request.body.question)
    const client = reply.sse([], { broadcast: false, replay: 'none', retry: null })
    answers.making++
    // `false` if the reader left before the end.
    const whole = await client.stream(words(text, client.signal), { event: 'token' })
    answers.making--
    if (whole) await client.send('done', { words: text.match(/\S+/g)!.length })
    else answers.unfinished++
    client.close()
  })

  // The page asks this to show that the server stops making the answer.
  app.get('/answers', async () => answers)
}

export default tokens
