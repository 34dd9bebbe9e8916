// The types that tests use of a package without types.
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
