// Makes the mutants of one file: each is the file with one small change. It reads the compiled file, so that no type is changed,
// and so that places are those of the coverage.
import { readFileSync } from 'node:fs'
import { SourceMap } from 'node:module'
import ts from 'typescript'
import { root } from '../support/root.js'

export interface Mutant {
  /** The file in `lib/`, with the line there. */
  readonly source: string
  readonly line: number
  /** The compiled file, below `build/`, and the place of the change in it. */
  readonly file: string
  readonly start: number
  /** What it was and what it is now, both shortened. */
  readonly change: string
  /** The line before and after the change. It names the mutant in `equivalent.ts`. */
  readonly key: string
  /** The whole changed file. */
  readonly text: string
}

/** A change: from where, up to where, what is there instead. */
type Change = readonly [number, number, string]

const OPERATORS: Record<string, readonly string[]> = {
  '<': ['<=', '>='],
  '<=': ['<', '>'],
  '>': ['>=', '<='],
  '>=': ['>', '<'],
  '===': ['!=='],
  '!==': ['==='],
  '&&': ['||'],
  '||': ['&&'],
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['*'],
  '+=': ['-='],
  '-=': ['+='],
  '&': ['|'],
  '|': ['&'],
  '<<': ['>>'],
  '>>': ['<<'],
  '>>>': ['<<']
}
const METHODS: Record<string, string> = { min: 'max', max: 'min', some: 'every', every: 'some' }

function isText (node: ts.Node): boolean {
  return ts.isStringLiteral(node) || ts.isTemplateLiteral(node)
}

function * changesOf (node: ts.Node): Iterable<Change> {
  const put = (at: ts.Node, text: string): Change => [at.getStart(), at.end, text]
  if (ts.isBinaryExpression(node)) {
    const { left, operatorToken: operator, right } = node
    const texts = [left, right].some(isText)
    if (!texts) for (const other of OPERATORS[operator.getText()] ?? []) yield put(operator, other)
    if (operator.getText() === '??') yield * [put(node, left.getText()), put(node, right.getText())]
  }
  if (ts.isPrefixUnaryExpression(node) || ts.isPostfixUnaryExpression(node)) {
    const text = node.getText()
    if (text.includes('++') || text.includes('--')) yield put(node, text.includes('++') ? text.replace('++', '--') : text.replace('--', '++'))
    else if (/^[!-]/.test(text)) yield put(node, node.operand.getText())
  }
  if (ts.isIfStatement(node)) yield * [put(node.expression, 'true'), put(node.expression, 'false')]
  if (ts.isConditionalExpression(node)) yield * [put(node.condition, 'true'), put(node.condition, 'false')]
  if (ts.isWhileStatement(node) || ts.isDoStatement(node)) yield put(node.expression, 'false')
  if (ts.isForStatement(node) && node.condition !== undefined) yield put(node.condition, 'false')
  if (node.kind === ts.SyntaxKind.TrueKeyword) yield put(node, 'false')
  if (node.kind === ts.SyntaxKind.FalseKeyword) yield put(node, 'true')
  if (ts.isStringLiteral(node) && node.text !== '') {
    const named = ts.isPropertyAssignment(node.parent) && node.parent.name === node
    if (!named && !ts.isImportDeclaration(node.parent) && !ts.isExportDeclaration(node.parent)) yield put(node, '""')
  }
  if (ts.isTemplateExpression(node)) yield put(node, '``')
  if (ts.isPropertyAccessChain(node) && node.questionDotToken !== undefined) yield put(node.questionDotToken, '.')
  if (ts.isPropertyAccessExpression(node) && ts.isCallExpression(node.parent) && Object.hasOwn(METHODS, node.name.text)) yield put(node.name, METHODS[node.name.text]!)
  if (ts.isBlock(node) && node.statements.length > 0 && ts.isFunctionLike(node.parent) && !ts.isConstructorDeclaration(node.parent)) yield put(node, '{}')
  if (ts.isExpressionStatement(node) && !node.getText().startsWith('super(')) yield put(node, ';')
}

function short (text: string): string {
  const line = text.replace(/\s+/g, ' ')
  return line.length > 60 ? `${line.slice(0, 57)}...` : line
}

/** All mutants of a file. @param source its path in the repository, e.g. `lib/client/outbox.ts` */
export function mutantsOf (source: string): Mutant[] {
  const file = source.replace(/\.ts$/, '.js')
  const code = readFileSync(`${root}build/${file}`, 'utf8')
  const map = new SourceMap(JSON.parse(readFileSync(`${root}build/${file}.map`, 'utf8')))
  const parsed = ts.createSourceFile(file, code, ts.ScriptTarget.Latest, true)
  const mutants: Mutant[] = []
  const visit = (node: ts.Node): void => {
    for (const [start, end, put] of changesOf(node)) {
      const { line, character } = parsed.getLineAndCharacterOfPosition(start)
      const entry = map.findEntry(line, character)
      const lineStart = code.lastIndexOf('\n', start) + 1
      const lineEnd = code.indexOf('\n', start)
      const changed = code.slice(lineStart, start) + put + code.slice(end, code.indexOf('\n', end))
      mutants.push({
        source,
        line: 'originalLine' in entry ? entry.originalLine + 1 : 0,
        file,
        start,
        change: `${short(code.slice(start, end))} → ${put}`,
        key: `${code.slice(lineStart, lineEnd).trim()} → ${changed.trim()}`,
        text: code.slice(0, start) + put + code.slice(end)
      })
    }
    ts.forEachChild(node, visit)
  }
  visit(parsed)
  return mutants
}
