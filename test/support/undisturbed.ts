// A host for tests of the scheduler alone. There is no application, and no visit may fail.
import type { SchedulerHost } from '../../lib/client/scheduler.js'

export const undisturbed: SchedulerHost = {
  begin () {},
  end () {},
  visitFailed (error) { throw error }
}
