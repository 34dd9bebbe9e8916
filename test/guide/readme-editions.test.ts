// The README is complete, its links lead somewhere, and the Chinese edition says the same as the English one.
import { access, readFile } from 'node:fs/promises'
import t from 'tap'
import ts from 'typescript'
import * as errors from '../../lib/errors.js'
import { hubOptions } from '../../lib/options.js'
import { anchorOf, readEdition, rowsOf, type Block, type Section } from '../support/readme.js'
import { root } from '../support/root.js'

const EDITIONS = ['README.md', 'README.zh-CN.md']
const english = readEdition('README.md')

function section (heading: string, level = 3): Section {
  const found = english.filter(section => section.heading === heading && section.level === level)
  if (found.length !== 1) throw new Error(`${found.length} sections are called ${heading}`)
  return found[0]!
}

const codeOf = (text: string): string[] => [...text.matchAll(/(?<!`)`([^`\n]+)`(?!`)/g)].map(([, code]) => code!)

/** The names in the first column of a section's tables: `send` for `send(event, data)`, `join` for `on('join', …)`. */
function named (heading: string): string[] {
  return rowsOf(section(heading)).flatMap(([first]) => codeOf(first!)).map(code => /^on\('(\w+)'/.exec(code)?.[1] ?? /^\w+/.exec(code)![0])
}

/** The members of an interface. */
async function membersOf (file: string, name: string): Promise<string[]> {
  const source = ts.createSourceFile(file, await readFile(`${root}${file}`, 'utf8'), ts.ScriptTarget.Latest)
  const found = source.statements.find(statement => ts.isInterfaceDeclaration(statement) && statement.name.text === name) as ts.InterfaceDeclaration
  return found.members.map(member => (member.name as ts.Identifier).text)
}

const TABLES: Array<[heading: string, ...interfaces: Array<[file: string, name: string]>]> = [
  ['Registration options', ['types/plugin.ts', 'SSEPluginOptions']],
  ['Stream options', ['types/client.ts', 'SSEConnectOptions']],
  ['Publishing options', ['types/hub.ts', 'SSEPublishOptions']],
  ['The hub', ['types/hub.ts', 'SSEHub'], ['types/hub.ts', 'SSEHubEvents'], ['types/hub.ts', 'SSEStats']],
  ['Clients', ['types/client.ts', 'SSEClient']],
  ['Compression', ['types/client.ts', 'SSECompressOptions']],
  ['Options of `connect()`', ['lib/browser/connect.ts', 'StreamOptions']],
  ['Options of `redisBroker()`', ['lib/brokers/redis/index.ts', 'RedisBrokerOptions']]
]

for (const [heading, ...interfaces] of TABLES) {
  t.test(`"${heading}" has each member in a table, and no other`, async t => {
    const members = await Promise.all(interfaces.map(([file, name]) => membersOf(file, name)))
    // Some names are there twice: `clients` is a method of the hub and a figure of its `stats()`.
    t.same([...new Set(named(heading))].sort(), [...new Set(members.flat())].sort())
  })
}

t.test('the defaults of the registration are those that the README says', async t => {
  const written = (value: unknown): string => {
    if (value === Infinity) return 'no limit'
    if (value === null || value === undefined) return 'none'
    return typeof value === 'number' ? String(value) : `\`${typeof value === 'string' ? `'${value}'` : String(value)}\``
  }
  const defaults = hubOptions({}) as unknown as Record<string, unknown>
  const others: Record<string, string> = { key: '`request.ip`', serializer: 'JSON', broker: 'in memory', compress: '`false`' }
  for (const [option, , byDefault] of rowsOf(section('Registration options'))) {
    const name = codeOf(option!)[0]!
    t.equal(byDefault, others[name] ?? written(defaults[name]), name)
  }
})

t.test('each error is in a table, with its status', async t => {
  const rows = rowsOf(section('Errors')).map(([code, status]) => [codeOf(code!)[0], Number(status)])
  t.same(rows.sort(), Object.entries(errors).map(([code, SSEError]) => [code, new (SSEError as unknown as new () => { statusCode: number })().statusCode]).sort())
})

/** What must be the same in both languages: code, figures, tables, and where links lead. */
interface Facts {
  readonly level: number
  readonly blocks: Block[]
  readonly code: string[]
  readonly figures: string[]
  readonly links: string[]
  readonly tables: number[]
}

const LINK = /\]\(([^)\s]+)\)/g

/** Code without its comments, because these are translated. */
function withoutComments ({ language, code }: Block): Block {
  if (['js', 'ts', 'tsx'].includes(language)) {
    const compilerOptions = { removeComments: true, target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext, jsx: ts.JsxEmit.Preserve, verbatimModuleSyntax: true }
    return { language, code: ts.transpileModule(code, { compilerOptions, fileName: 'block.tsx' }).outputText }
  }
  return { language, code: language === 'sh' ? code.replaceAll(/ +# .*$/gm, '') : code }
}

function factsOf (sections: Section[]): Facts[] {
  const anchors = sections.map(({ heading }) => `#${anchorOf(heading)}`)
  return sections.map(section => {
    const prose = section.text.replaceAll(/`[^`\n]+`/g, '').replaceAll(LINK, ']').replaceAll(/(\d),(?=\d{3})/g, '$1')
    return {
      level: section.level,
      blocks: section.blocks.map(withoutComments),
      code: codeOf(`${section.heading}\n${section.text}`).sort(),
      figures: (prose.match(/\d+(?:\.\d+)?/g) ?? []).sort(),
      // Headings are translated, so a link to one is the heading's number. The link to the other edition is left out.
      links: [...section.text.matchAll(LINK)].map(([, link]) => link!.startsWith('#') ? `section ${anchors.indexOf(link!)}` : link!)
        .filter(link => !EDITIONS.includes(link)).sort(),
      tables: rowsOf(section).map(cells => cells.length)
    }
  })
}

t.test('the Chinese edition has the sections of the English one, with the same code, figures, links and tables', async t => {
  const chinese = readEdition('README.zh-CN.md')
  const expected = factsOf(english)
  const facts = factsOf(chinese)
  t.same(facts.map(({ level }) => level), expected.map(({ level }) => level))
  for (const [index, { heading }] of english.entries()) t.same(facts[index], expected[index], `${heading} / ${chinese[index]?.heading}`)
})

for (const edition of [...EDITIONS, 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md']) {
  t.test(`the links of ${edition} lead somewhere`, async t => {
    const sections = readEdition(edition)
    const anchors = new Set(sections.map(({ heading }) => `#${anchorOf(heading)}`))
    if (EDITIONS.includes(edition)) t.equal(anchors.size, sections.length, 'no two headings have one address')
    for (const [, link] of sections.flatMap(({ text }) => [...text.matchAll(LINK)])) {
      if (link!.startsWith('#')) t.ok(anchors.has(link!), link!)
      else if (!/^https?:/.test(link!)) await t.resolves(access(`${root}${link}`), link!)
    }
  })
}
