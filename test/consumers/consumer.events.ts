// The events, which a server and its pages share.
import { Type } from '@sinclair/typebox'

export const events = { notification: Type.Object({ type: Type.String(), message: Type.String() }) }
