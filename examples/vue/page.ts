// The notifications of the signed-in user, as a component.
import { createApp, defineComponent, h, ref, type Ref } from 'vue'
import type { Static } from '@sinclair/typebox'
import type { events } from '../notifications/server.js'
import { useEventSource } from './use-event-source.js'

type Notification = Static<typeof events.notification>

// The component is a render function: a template that is compiled in the browser needs a looser content security policy
// than this server has, and a single-file component needs a build step. The composable is the same for all of them.
const Notifications = defineComponent({
  props: { user: { type: String, required: true } },
  setup (props) {
    const notifications: Ref<Notification[]> = ref([])

    const state = useEventSource<typeof events>(() => `/notifications/users/${props.user}/stream`, {
      onStart: () => { notifications.value = [] },
      on: { notification: notification => { notifications.value.unshift(notification) } }
    })

    return () => h('section', { class: 'card', 'aria-labelledby': 'yours' }, [
      h('div', { class: 'row between' }, [
        h('h2', { id: 'yours' }, `For ${props.user}`),
        h('span', { class: 'state', role: 'status', 'data-state': state.value }, state.value)
      ]),
      h('ol', { class: 'list' }, notifications.value.map(({ id, type, from, message, time }) =>
        h('li', { key: id, class: type }, [
          h('time', { datetime: new Date(time).toISOString() }, new Date(time).toLocaleTimeString()),
          h('b', `${from}: `),
          message
        ]))),
      h('p', { class: 'soft small', role: 'status' }, notifications.value.length === 0 ? 'Nothing yet.' : `${notifications.value.length} in all, the newest first.`)
    ])
  }
})

const App = defineComponent(() => {
  const user = ref<string | null>()
  const mounted = ref(true)

  fetch('/notifications/session')
    .then(async response => { user.value = (await response.json() as { user: string | null }).user })

  return () => {
    if (user.value === undefined) return null
    if (user.value === null) return h('p', { class: 'card' }, ['Nobody is signed in. ', h('a', { href: '/notifications' }, 'Sign in'), ' first.'])
    return [
      h('div', h('button', { class: 'quiet', onClick: () => { mounted.value = !mounted.value } }, mounted.value ? 'Unmount' : 'Mount')),
      mounted.value ? h(Notifications, { user: user.value }) : null
    ]
  }
})

createApp(App).mount('#app')
