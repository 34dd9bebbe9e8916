// A client's `signal`: an AbortSignal (WHATWG DOM 3.2) whose listeners can't end the process. Node makes what a listener throws
// an `uncaughtException`; here it is reported. It must not know of clients.
import { guarded } from '../guarded.js'

type Add = AbortSignal['addEventListener']
type Remove = AbortSignal['removeEventListener']
type Guard = (this: AbortSignal, event: Event) => void

const reports = new WeakMap<AbortSignal, (error: unknown) => void>()
/** By the listener that each of them calls, so that it can be removed. */
const guards = new WeakMap<object, Guard>()

/** Nobody constructs it: a signal of Node's is given its prototype, so that `fetch()` and all others take it for one. */
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

/** @param failed is told what a listener of its signal throws or rejects with */
export function guardedController (failed: (error: unknown) => void): AbortController {
  const controller = new AbortController()
  Object.setPrototypeOf(controller.signal, GuardedSignal.prototype)
  reports.set(controller.signal, failed)
  return controller
}
