import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { tag } from '../agent/bounds.js'
import { AnswerFields } from '../agent/fields.js'
import { ContentSpool } from '../image/content-spool.js'
import { emptyConfig, type ImageConfig } from '../image/image-config.js'
import { ImageBudget } from '../image/image-limits.js'
import { ImageTree } from '../image/image-tree.js'
import { addGuestFiles } from './guest-files.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-guest-files-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function fieldsOf(config: Partial<ImageConfig>): AnswerFields {
  const tree = new ImageTree(new ImageBudget())
  const spool = new ContentSpool(folder)
  addGuestFiles(tree, spool, { ...emptyConfig, ...config }, { entry: false })
  const node = tree.find('etc/varve/image')
  if (node?.kind !== 'file') throw new Error('there is no file for the agent')
  return new AnswerFields(readFileSync(spool.pathOf(node.content)))
}

const variables = (count: number) => Array.from({ length: count }, (_, n) => `V${n}=`)

test('the agent learns of the environment and the user of an image', () => {
  const fields = fieldsOf({ env: variables(1024), user: 'app' })
  expect(fields.all(tag.env)).toHaveLength(1024)
  expect(fields.text(tag.user)).toBe('app')
})

test('an image with more variables than the agent takes, which would run as root, is refused', () => {
  expect(() => fieldsOf({ env: variables(1025), user: 'app' })).toThrow('1025 variables')
})
