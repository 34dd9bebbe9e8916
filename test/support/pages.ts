// The pages of the documentation with their sections and code blocks, for their tests.
import { readdirSync, readFileSync } from 'node:fs'
import { root } from './root.js'

export interface Block {
  readonly language: string
  readonly code: string
}

export interface Section {
  /** How many `#` its heading has. */
  readonly level: number
  readonly heading: string
  /** Its text, without its code blocks and without the sections below it. */
  readonly text: string
  readonly blocks: readonly Block[]
}

const BLOCK = /^```(\w*)\n(.*?)^```$/gms

const CHINESE = 'docs/zh-CN/'

const documentation = readdirSync(`${root}docs`, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.md')).map(file => `docs/${file}`).sort()

/** All English pages, the README first. */
export const pages = ['README.md', ...documentation.filter(page => !page.startsWith(CHINESE))]

/** The Chinese pages. Each is the translation of an English one. */
export const chinesePages = documentation.filter(page => page.startsWith(CHINESE))

/** The English page that a Chinese one translates: `README.md` for `docs/zh-CN/README.md`. An English page is given back. */
export function originalOf (page: string): string {
  const path = page.startsWith(CHINESE) ? page.slice(CHINESE.length) : null
  if (path === null) return page
  return path === 'README.md' ? path : `docs/${path}`
}

/** Reads one page, such as `docs/guide/history.md`. */
export function readPage (file: string): Section[] {
  const page = readFileSync(`${root}${file}`, 'utf8')
  const blocks: Block[] = []
  // Comments in code look like headings.
  const text = page.replaceAll(BLOCK, (_whole, language: string, code: string) => `\0${blocks.push({ language, code }) - 1}\0`)
  return text.split(/^(?=#+ )/m).map(part => {
    const [, hashes, heading] = /^(#+) (.*)$/m.exec(part)!
    return {
      level: hashes!.length,
      heading: heading!,
      text: part.slice(part.indexOf('\n')).replaceAll(/\0\d+\0/g, ''),
      blocks: [...part.matchAll(/\0(\d+)\0/g)].map(([, index]) => blocks[Number(index)]!)
    }
  })
}

/** The anchor that GitHub makes of a heading. */
export function anchorOf (heading: string): string {
  return heading.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, '').trim().replaceAll(' ', '-')
}

/** The cells of all rows of a section's tables, without the headings. */
export function rowsOf ({ text }: Section): string[][] {
  const lines = text.split('\n')
  return lines
    .filter((line, index) => line.startsWith('|') && !/^\|[-|]+\|$/.test(line) && !/^\|[-|]+\|$/.test(lines[index + 1] ?? ''))
    // A bar in a cell is escaped.
    .map(line => line.split(/(?<!\\)\|/).slice(1, -1).map(cell => cell.trim().replaceAll('\\|', '|')))
}
