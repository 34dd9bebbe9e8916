// A client's `signal`: an AbortSignal (WHATWG DOM 3.2) whose listeners can't end the process. When a listener of Node's own signal
// throws, Node emits `uncaughtException`. Here the error is reported. It must not know of clients.
import { guarded } from '../guarded.js'

type Add = AbortSignal['addEventListener']
type Remove = AbortSignal['removeEventListener']
type Guard = (this: AbortSignal, event: Event) => void

const reports = new WeakMap<AbortSignal, (error: unknown) => void>()
/** The guard of each listener. `removeEventListener` gets the listener, and must remove its guard. */
const guards = new WeakMap<object, Guard>()

/** It is never constructed. A signal of Node gets its prototype, so that `fetch()` and others accept it as a signal. */
class GuardedSignal extends AbortSignal {
  override addEventListener (...[type, listener, options]: Parameters<Add>): void {
    super.addEventListener(type, listener && guardOf(listener), options)
  }

  override removeEventListener (...[type, listener, options]: Parameters<Remove>): void {
    super.removeEventListener(type, listener && (guards.get(listener) ?? listener), options)
  }
}

function guardOf (listener: NonNullable<Parameters<Add>[1]>): Guard {
  let guard = guards.get(listener)
  if (guard === undefined) {
    guard = function (event) {
      guarded(() => typeof listener === 'function' ? listener.call(this, event) : listener.handleEvent(event), reports.get(this)!)
    }
    guards.set(listener, guard)
  }
  return guard
}

/** @param failed gets what a listener of its signal throws or rejects with */
export function guardedController (failed: (error: unknown) => void): AbortController {
  const controller = new AbortController()
  Object.setPrototypeOf(controller.signal, GuardedSignal.prototype)
  reports.set(controller.signal, failed)
  return controller
}
