// The subjects by name.
import { betterSse, betterSseBatched, betterSseRedis } from './better-sse.js'
import { fastifySse } from './fastify-sse.js'
import { fastifySseV2 } from './fastify-sse-v2.js'
import { bareHttp, bareNet, smallStream } from './floor.js'
import { gzipPerClient } from './gzip-per-client.js'
import { compressed, ours } from './ours.js'
import type { Subject, SubjectOptions } from './subject.js'

export const SUBJECTS = {
  ours,
  'ours (compressed)': compressed(true),
  'ours (compressed, threshold 0)': compressed({ threshold: 0 }),
  'gzip per client': gzipPerClient,
  '@fastify/sse': fastifySse,
  'better-sse': betterSse,
  'better-sse (batched by hand)': betterSseBatched,
  'better-sse (Redis Pub/Sub)': betterSseRedis,
  'fastify-sse-v2': fastifySseV2,
  'node:net': bareNet,
  'node:http': bareHttp,
  'small stream': smallStream
} satisfies Record<string, (options: SubjectOptions) => Promise<Subject>>

export type SubjectName = keyof typeof SUBJECTS

export const PEERS = ['@fastify/sse', 'better-sse', 'fastify-sse-v2'] as const satisfies readonly SubjectName[]
