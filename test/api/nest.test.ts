// The plugin in a NestJS application.
import 'reflect-metadata'
import { once } from 'node:events'
import {
  Body, Controller, ForbiddenException, Get, Inject, Injectable, Module, Param, Post, Req, Res, UseGuards,
  type CanActivate, type ExecutionContext
} from '@nestjs/common'
import { HttpAdapterHost, NestFactory } from '@nestjs/core'
import { FastifyAdapter, RouteSchema, type NestFastifyApplication } from '@nestjs/platform-fastify'
import swagger from '@fastify/swagger'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import sse, { sseResponse, type SSEHub, type SSEPluginOptions } from '../../lib/index.js'
import { portOf } from '../support/app.js'
import { recordDisconnects } from '../support/disconnects.js'
import { MemoryLog } from '../support/memory-log.js'
import { checkReceives, openStream, request } from '../support/streams.js'

/** A provider, which can publish from anywhere in a Nest application. */
@Injectable()
class Notifier {
  // Without emitted types, Nest finds the dependency by its token.
  constructor (@Inject(HttpAdapterHost) private readonly host: HttpAdapterHost) {}

  async notify (room: string, message: unknown): Promise<object> {
    const { sse } = this.host.httpAdapter.getInstance<FastifyInstance>() as { sse: SSEHub }
    return await sse.toChannel(room, 'message', message)
  }
}

class WithToken implements CanActivate {
  canActivate (context: ExecutionContext): boolean {
    return context.switchToHttp().getRequest<FastifyRequest>().headers.authorization !== undefined
  }
}

@Controller('chat')
class ChatController {
  constructor (@Inject(Notifier) private readonly notifier: Notifier) {}

  @Get('fails')
  fails (@Res() reply: FastifyReply): void {
    reply.sse()
    throw new ForbiddenException('too late')
  }

  @Get('passes')
  async passes (@Res({ passthrough: true }) reply: FastifyReply): Promise<void> {
    reply.sse('passes')
  }

  @Get('guarded')
  @UseGuards(WithToken)
  guarded (@Res() reply: FastifyReply): void {
    reply.sse('guarded')
  }

  @Get('described')
  @RouteSchema(sseResponse(['message']))
  described (@Res() reply: FastifyReply): void {
    reply.sse()
  }

  @Get(':room')
  events (@Param('room') room: string, @Res() reply: FastifyReply): void {
    reply.sse(room, { metadata: { room } })
  }

  @Post(':room')
  async say (@Param('room') room: string, @Body() message: unknown): Promise<object> {
    return await this.notifier.notify(room, message)
  }

  @Get(':room/count')
  count (@Param('room') room: string, @Req() { server }: FastifyRequest): number {
    return server.sse.clientCount(room)
  }
}

@Module({ controllers: [ChatController], providers: [Notifier] })
class AppModule {}

interface Served {
  readonly nest: NestFastifyApplication
  readonly app: FastifyInstance
  readonly log: MemoryLog
  readonly port: number
}

async function serve (t: Test, options: SSEPluginOptions = {}, prepare: (nest: NestFastifyApplication) => unknown = () => {}): Promise<Served> {
  const log = new MemoryLog()
  const nest = await NestFactory.create<NestFastifyApplication>(AppModule, new FastifyAdapter({ loggerInstance: log.logger }), { logger: false, abortOnError: false })
  t.teardown(() => nest.close())
  await prepare(nest)
  await nest.register(sse, options)
  await nest.listen(0, '127.0.0.1')
  const app = nest.getHttpAdapter().getInstance() as unknown as FastifyInstance
  return { nest, app, log, port: portOf(app) }
}

t.test('in a NestFastifyApplication, a controller answers with a stream, and a provider publishes to it', async t => {
  const { app, port } = await serve(t)
  const client = await openStream(t, port, { path: '/chat/lobby' })
  await checkReceives(t, app.sse, client)
  const response = await fetch(`http://127.0.0.1:${port}/chat/lobby`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"text":"hi"}' })
  const { id, recipients } = await response.json() as { id: string, recipients: number }
  t.equal(recipients, 1)
  t.match((await client.untilEvents(3))[2], { id, event: 'message', data: '{"text":"hi"}' })
  t.equal(await (await fetch(`http://127.0.0.1:${port}/chat/lobby/count`)).text(), '1')
  const disconnected = once(app.sse as never, 'disconnect')
  client.destroy()
  await disconnected
  t.equal(app.sse.clientCount(), 0)
})

t.test('in Nest, the return value of a handler with a passed through reply does not change its stream', async t => {
  const { app, log, port } = await serve(t)
  const client = await openStream(t, port, { path: '/chat/passes' })
  await checkReceives(t, app.sse, client)
  t.same(log.complaints, [])
})

t.test('in Nest, a client that a guard refuses gets no stream', async t => {
  const { app, port } = await serve(t)
  t.equal((await request(t, port, { path: '/chat/guarded' })).status, 403)
  t.equal(app.sse.stats().connections, 0)
  await openStream(t, port, { path: '/chat/guarded', headers: { authorization: 'Bearer x' } })
})

t.test('in Nest, the exceptions layer answers an error of reply.sse() with its status and headers', async t => {
  const { port } = await serve(t, { maxClients: 1 })
  t.equal((await request(t, port, { path: '/chat/lobby', headers: { accept: 'text/html' } })).status, 406)
  await openStream(t, port, { path: '/chat/lobby' })
  const refused = await request(t, port, { path: '/chat/lobby' })
  t.equal(refused.status, 503)
  t.ok(refused.header('retry-after'))
})

t.test('in Nest, a handler that throws after reply.sse() ends its stream', async t => {
  const { app, port } = await serve(t)
  const disconnects = recordDisconnects(app)
  const client = await request(t, port, { path: '/chat/fails' })
  await client.until(() => client.complete)
  t.equal(client.status, 200)
  t.notMatch(client.text, /too late/)
  // Nest answers errors itself. If the head has been sent, it ends the response.
  t.same(disconnects.map(({ reason }) => reason), ['server'])
})

t.test('in Nest, CORS, a global prefix and the OpenAPI document work for streams', async t => {
  const { app, nest, port } = await serve(t, { events: { message: Type.Object({ n: Type.Number(), text: Type.String() }) } }, async nest => {
    nest.enableCors({ origin: 'https://app.example' })
    nest.setGlobalPrefix('api')
    await nest.register(swagger as never, { openapi: { openapi: '3.1.0', info: { title: 'app', version: '1.0.0' } } } as never)
  })
  const client = await openStream(t, port, { path: '/api/chat/lobby', headers: { origin: 'https://app.example' } })
  t.equal(client.header('access-control-allow-origin'), 'https://app.example')
  await checkReceives(t, app.sse, client)
  const { paths } = app.swagger() as { paths: Record<string, { get: { responses: Record<string, { content: object }> } }> }
  t.match(paths['/api/chat/described']!.get.responses[200]!.content, { 'text/event-stream': { schema: { oneOf: [{ title: 'message' }] } } })
  app.sse.send('message', { n: 0, text: 'the last' })
  await nest.close()
  await client.untilClosed()
  t.ok(client.complete)
  t.equal(client.events.at(-1)!.data, '{"n":0,"text":"the last"}')
})
