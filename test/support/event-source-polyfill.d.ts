// What tests use of a package that brings no types.
declare module 'event-source-polyfill' {
  interface Options {
    readonly lastEventIdQueryParameterName?: string
  }

  export class EventSourcePolyfill {
    constructor (url: string, options?: Options)
    addEventListener (type: string, listener: (event: { readonly data: string }) => void): void
    close (): void
  }
}
