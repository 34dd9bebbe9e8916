// The rooms of lib/. CONTRIBUTING.md must draw the imports between them as they are, and the imports of files must have no circle.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'
import { root } from '../support/root.js'

const { floors } = await import(`${root}eslint.config.js`) as { floors: string[][] }
const files = ['lib', 'types'].flatMap(folder => readdirSync(`${root}${folder}`, { recursive: true, encoding: 'utf8' }).map(file => join(folder, file)))
  .filter(file => file.endsWith('.ts') && !file.startsWith('types/test/'))

/** The files of the package that a file imports. */
function importsOf (file: string): string[] {
  const imports = readFileSync(`${root}${file}`, 'utf8').matchAll(/ from '(\.{1,2}\/[^']+)\.js'/g)
  return Array.from(imports, ([, path]) => normalize(join(dirname(file), `${path}.ts`)))
}

/** A folder of lib/, a file beside these folders, or `types`. */
function roomOf (file: string): string {
  const [folder, name] = file.split('/') as [string, string]
  return folder === 'types' ? 'types' : name.replace('.ts', '')
}

/** The rooms from which the files of each room import. */
function drawn (): Map<string, Set<string>> {
  const rooms = new Map<string, Set<string>>()
  for (const file of files) {
    const room = roomOf(file)
    const imports = rooms.get(room) ?? new Set()
    rooms.set(room, imports)
    for (const imported of importsOf(file)) if (roomOf(imported) !== room) imports.add(roomOf(imported))
  }
  return rooms
}

t.test('CONTRIBUTING.md draws each room with its floor and with the rooms that it imports from', async t => {
  const rows = [...readFileSync(`${root}CONTRIBUTING.md`, 'utf8').matchAll(/^(\d|-) +([\w-]+) +→ ?(.*)$/gm)]
  const rooms = drawn()
  t.same(rows.map(([, , room]) => room).sort(), [...rooms.keys()].sort(), 'each room is drawn once')
  for (const [, floor, room, imports] of rows) {
    t.same(imports!.split(', ').filter(name => name !== '').sort(), [...rooms.get(room!)!].sort(), `${room} imports these`)
    const at = floors.findIndex(rooms => rooms.includes(room!))
    t.equal(floor, at === -1 ? '-' : String(floors.length - at), `the floor of ${room} is that of the lint configuration`)
  }
})

t.test('no file imports itself by way of others', async t => {
  const done = new Set<string>()
  const visit = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) t.fail([...way, file].join(' imports '))
    if (way.includes(file) || done.has(file)) return
    for (const imported of importsOf(file)) visit(imported, [...way, file])
    done.add(file)
  }
  for (const file of files) visit(file, [])
  t.ok(done.size > 60, `${done.size} files`)
})

t.test('no class has more than 250 lines', async t => {
  for (const file of files) {
    const classes = readFileSync(`${root}${file}`, 'utf8').matchAll(/^(?:export )?(?:abstract )?class (\w+).*?\n\}$/gms)
    for (const [text, name] of classes) t.ok(text.split('\n').length <= 250, `${name} in ${file}`)
  }
})
