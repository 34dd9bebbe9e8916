// A folder with an application's files. It is next to the examples, where the package's name resolves.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Test } from 'tap'
import { root } from './root.js'

/** Writes files by their paths in the folder. The folder is removed when the test ends. */
export async function appFolder (t: Test, files: Record<string, string>): Promise<string> {
  const folder = await mkdtemp(`${root}examples/.app-`)
  t.teardown(() => rm(folder, { recursive: true }))
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(`${folder}/${path}`), { recursive: true })
    await writeFile(`${folder}/${path}`, text)
  }
  return folder
}
