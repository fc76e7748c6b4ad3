import type { ImageId } from 'varve/layers'
import { emptyPageSet, pageRange } from 'varve/working-sets'
import { expect, test } from 'vitest'
import { setRow } from '../experiments/rows.js'
import type { DemoResult } from './demo-result.js'
import { renderDemo } from './report.js'

const image = '1'.repeat(32) as ImageId

const result: DemoResult = {
  createdAt: '2026-01-02T03:04:05.678Z',
  lab: 'nested',
  environment: { CPU: '2 × <fast>' },
  guest: { memoryMib: 128, pages: 32_768, bootMs: 41.5 },
  layers: [
    {
      name: 'base',
      kind: 'full',
      dataPages: 20_050,
      zeroPages: 12_718,
      absentPages: 0,
      allocatedBytes: 82_124_800,
      pauseMs: 30,
    },
  ],
  workingSet: {
    told: { present: 30, written: 10, readOnly: 20 },
    found: { present: 32, written: 10, readOnly: 22 },
    extra: [{ pages: 2, why: 'the guest’s own' }],
    missing: 0,
  },
  set: setRow(
    'the restored guest',
    {},
    {
      image,
      pages: 1024,
      recordedAtMs: 0,
      windowMs: 0,
      readOnly: pageRange(0, 20),
      written: pageRange(100, 10),
      groups: [],
      notes: {},
    },
    emptyPageSet,
  ),
  heatMap: { columns: 1, rows: 1, pagesPerCell: 1, cells: ['cold'] },
  restores: [{ engine: 'paged', firstAnswerMs: [10, 30, 20], wholePassMs: [40, 60, 50] }],
  checks: [{ what: 'image', result: 'byte-identical' }],
}

test('the page has every number, its picture, and nothing from elsewhere', () => {
  const page = renderDemo(result)
  for (const text of ['20,050', '78.3 MiB', '2 more than told', '0 told but not found', 'byte-identical'])
    expect(page).toContain(text)
  expect(page).toContain('<td>20.0 ms</td><td>50.0 ms</td><td>40.0 ms – 60.0 ms</td>')
  expect(page).toContain('its times are not speeds')
  expect(page).toContain('src="data:image/png;base64,')
  expect(page).toContain('2 × &#60;fast&#62;')
  expect(page).not.toMatch(/https?:/)
  expect(page).toContain("default-src 'none'")
})
