// The documentation is complete, its links lead somewhere, and the Chinese pages say the same as the English ones.
import { access, readFile } from 'node:fs/promises'
import { dirname, normalize } from 'node:path/posix'
import t from 'tap'
import ts from 'typescript'
import * as errors from '../../lib/errors.js'
import { hubOptions } from '../../lib/options.js'
import { anchorOf, chinesePages, originalOf, pages, readPage, rowsOf, type Block, type Section } from '../support/pages.js'
import { root } from '../support/root.js'

const CONTENTS = 'docs/README.md'
const english = new Map(pages.map(page => [page, readPage(page)]))

function section (heading: string): Section {
  const found = [...english.values()].flat().filter(section => section.heading === heading)
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

const TABLES: Array<[heading: string, members: [file: string, name: string]]> = [
  ['Registration options', ['types/plugin.ts', 'SSEPluginOptions']],
  ['Stream options', ['types/client.ts', 'SSEConnectOptions']],
  ['Publishing options', ['types/hub.ts', 'SSEPublishOptions']],
  ['The hub', ['types/hub.ts', 'SSEHub']],
  ['Events of the hub', ['types/hub.ts', 'SSEHubEvents']],
  ['Figures of `stats()`', ['types/hub.ts', 'SSEStats']],
  ['Clients', ['types/client.ts', 'SSEClient']],
  ['Compression', ['types/client.ts', 'SSECompressOptions']],
  ['Options of `connect()`', ['lib/browser/connect.ts', 'StreamOptions']],
  ['Options of `redisBroker()`', ['lib/brokers/redis/index.ts', 'RedisBrokerOptions']]
]

for (const [heading, [file, name]] of TABLES) {
  t.test(`"${heading}" has each member in a table, and no other`, async t => {
    t.same(named(heading).sort(), (await membersOf(file, name)).sort())
  })
}

t.test('the defaults of the registration are those that the page says', async t => {
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

t.test('each message of an error ends with the address of the section about its code', async t => {
  for (const [code, SSEError] of Object.entries(errors)) {
    const { message } = new (SSEError as unknown as new () => Error)()
    const [, page, anchor] = / \(see fastify-sse-hub\/(\S+)#(\S+)\)$/.exec(message)!
    t.same(english.get(page!)!.filter(({ heading }) => anchorOf(heading) === anchor).map(({ heading }) => heading), [code])
  }
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

/** Where a link of a page leads: a file of the repository, with the number of its section where the link has an anchor. */
function targetOf (page: string, link: string): string {
  if (/^https?:/.test(link)) return link
  const [path, anchor] = link.split('#') as [string, string?]
  const file = path === '' ? page : normalize(`${dirname(page)}/${path}`)
  if (anchor === undefined) return file
  const index = readPage(file).findIndex(({ heading }) => anchorOf(heading) === anchor)
  if (index < 0) throw new Error(`${page} links to ${link}, which is not there`)
  return `${file}#${index}`
}

function linksOf (page: string, { text }: Section): string[] {
  return [...text.matchAll(LINK)].map(([, link]) => targetOf(page, link!))
}

function factsOf (page: string): Facts[] {
  return readPage(page).map(section => {
    const prose = section.text.replaceAll(/`[^`\n]+`/g, '').replaceAll(LINK, ']').replaceAll(/(\d),(?=\d{3})/g, '$1')
    return {
      level: section.level,
      blocks: section.blocks.map(withoutComments),
      code: codeOf(`${section.heading}\n${section.text}`).sort(),
      figures: (prose.match(/\d+(?:\.\d+)?/g) ?? []).sort(),
      // A Chinese page links to Chinese pages where there are some. The links between the two languages are left out.
      links: linksOf(page, section).filter(target => originalOf(page) === page ? originalOf(target) === target : target !== 'README.md')
        .map(target => originalOf(target)).sort(),
      tables: rowsOf(section).map(cells => cells.length)
    }
  })
}

for (const page of chinesePages) {
  const original = originalOf(page)
  t.test(`${page} has the sections of ${original}, with the same code, figures, links and tables`, async t => {
    const expected = factsOf(original)
    const facts = factsOf(page)
    t.same(facts.map(({ level }) => level), expected.map(({ level }) => level))
    for (const [index, { heading }] of english.get(original)!.entries()) t.same(facts[index], expected[index], heading)
  })
}

for (const page of [...pages, ...chinesePages, 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md']) {
  t.test(`the links of ${page} lead somewhere`, async t => {
    const sections = readPage(page)
    if (pages.includes(page) || chinesePages.includes(page)) t.equal(new Set(sections.map(({ heading }) => anchorOf(heading))).size, sections.length, 'no two headings have one address')
    for (const target of sections.flatMap(section => linksOf(page, section))) {
      if (!/^https?:/.test(target)) await t.resolves(access(`${root}${target.replace(/#\d+$/, '')}`), target)
    }
  })
}

t.test('the table of contents links each page', async t => {
  const linked = english.get(CONTENTS)!.flatMap(section => linksOf(CONTENTS, section))
  for (const page of pages) if (page !== CONTENTS && page !== 'README.md') t.ok(linked.includes(page), page)
})

t.test('llms.txt has the form of llmstxt.org, and links each English page', async t => {
  const [title, ...sections] = readPage('llms.txt')
  t.match(title, { level: 1, heading: 'fastify-sse-hub', text: /^\n\n> [^\n]+\n/ })
  t.ok(sections.every(({ level }) => level === 2), 'its sections are not divided')
  for (const { heading, text } of sections) for (const line of text.trim().split('\n')) t.match(line, /^- \[[^\]]+\]\([^)]+\): ./, heading)
  t.same(sections.flatMap(section => linksOf('llms.txt', section)).sort(), [...pages].sort())
})

for (const page of [...pages, ...chinesePages]) {
  t.test(`${page} is one page long, and says where to go next`, async t => {
    const lines = (await readFile(`${root}${page}`, 'utf8')).trimEnd().split('\n')
    t.ok(lines.length <= 250, `${lines.length} lines`)
    if (page === CONTENTS || originalOf(page) === 'README.md') return
    t.match(lines.at(-1)!, originalOf(page) === page ? /^Next: .*\]\(/ : /^下一步：.*\]\(/)
  })
}
