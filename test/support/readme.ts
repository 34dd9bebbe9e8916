// The README's code blocks and sections, for its tests.
import { readFileSync } from 'node:fs'
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

/** Reads one edition, such as `README.md`. */
export function readEdition (file: string): Section[] {
  const edition = readFileSync(`${root}${file}`, 'utf8')
  const blocks: Block[] = []
  // Comments in code look like headings.
  const text = edition.replaceAll(BLOCK, (_whole, language: string, code: string) => `\0${blocks.push({ language, code }) - 1}\0`)
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
