// The notifications of the signed-in user, as a component.
import { useEffect, useState } from 'react'
import { createRoot } from 'react-dom/client'
import type { Static } from '@sinclair/typebox'
import { element } from '../element.js'
import type { events } from '../notifications/server.js'
import { useEventSource } from './use-event-source.js'

type Notification = Static<typeof events.notification>

function Notifications ({ user }: { user: string }) {
  const [notifications, setNotifications] = useState<Notification[]>([])

  const state = useEventSource<typeof events>(`/notifications/users/${user}/stream`, {
    onStart: () => setNotifications([]),
    on: { notification: notification => setNotifications(known => [notification, ...known]) }
  })

  return (
    <section className='card' aria-labelledby='yours'>
      <div className='row between'>
        <h2 id='yours'>For {user}</h2>
        <span className='state' role='status' data-state={state}>{state}</span>
      </div>
      <ol className='list'>
        {notifications.map(({ id, type, from, message, time }) => (
          <li key={id} className={type}>
            <time dateTime={new Date(time).toISOString()}>{new Date(time).toLocaleTimeString()}</time>
            <b>{from}: </b>{message}
          </li>
        ))}
      </ol>
      <p className='soft small' role='status'>{notifications.length === 0 ? 'Nothing yet.' : `${notifications.length} in all, the newest first.`}</p>
    </section>
  )
}

function App () {
  const [user, setUser] = useState<string | null>()
  const [mounted, setMounted] = useState(true)

  useEffect(() => {
    fetch('/notifications/session')
      .then(async response => setUser((await response.json() as { user: string | null }).user))
  }, [])

  if (user === undefined) return null
  if (user === null) return <p className='card'>Nobody is signed in. <a href='/notifications'>Sign in</a> first.</p>
  return (
    <>
      <div><button className='quiet' onClick={() => setMounted(!mounted)}>{mounted ? 'Unmount' : 'Mount'}</button></div>
      {mounted && <Notifications user={user} />}
    </>
  )
}

createRoot(element('app', HTMLElement)).render(<App />)
