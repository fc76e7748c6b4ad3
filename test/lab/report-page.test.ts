import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Explanation } from '@varve/guest'
import { type CellRow, type ExperimentRows, engineSettingNames, type SetRow, writeReport } from '@varve/lab'
import { pageSetFromRuns, workingSetToBytes } from 'varve/working-sets'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Page } from '../support/chromium.js'

/** If Chromium is not there yet, it is fetched. */
const openTimeoutMs = 600_000

let directory: string
let report: string
let page: Page
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'varve-report-'))
  report = writeReport(rows(), directory).report
  page = await Page.open()
}, openTimeoutMs)
afterAll(async () => {
  await page?.[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true, force: true })
})

/**
 * An experiment of every engine, cold and warm, with numbers that are only made to look like measured ones.
 */
function rows(): ExperimentRows {
  const restore = ['warm VM', 'vanilla', ...engineSettingNames]
  const cells: CellRow[] = []
  for (let round = 1; round <= 12; round++)
    for (const cache of ['cold', 'warm'])
      for (const [index, name] of restore.entries()) {
        const totalMs = (cache === 'cold' ? 200 : 80) + 31 * index + 7 * ((round * (index + 3)) % 5)
        cells.push({
          kind: 'cell',
          round,
          cell: { memoryMib: 512, cache, restore: name },
          at: cells.length,
          tookMs: totalMs,
          correct: !(round === 3 && name === 'paged'),
          measures: {
            restoredMs: 0.4 * totalMs,
            firstMs: 0.45 * totalMs,
            totalMs,
            majorFaults: 100 * index,
            ...(name.startsWith('paged') ? { uffdFaults: 6000 } : {}),
            privateBytes: 2 ** 20 * (5 + index),
            fileBytes: 2 ** 20 * 40,
          },
          phasesMs: { open: 2, launch: 10, load: 0.2 * totalMs, prefetch: 3 * index },
        })
      }
  const set = (name: string, shift: number): SetRow => {
    const early = pageSetFromRuns([{ start: 1000 + shift, count: 3000 }])
    const late = pageSetFromRuns([{ start: 60_000, count: 9000 }])
    const workingSet = {
      image: 'ab'.repeat(16),
      pages: 512 * 256,
      recordedAtMs: 0,
      windowMs: 100,
      readOnly: early,
      written: late,
      groups: [
        { atMs: 0, set: early },
        { atMs: 50, set: late },
      ],
      notes: {},
    }
    return {
      kind: 'set',
      name,
      about: {},
      workingSet: workingSetToBytes(workingSet).toString('base64'),
      zero: [[100_000, 20_000]],
    }
  }
  return {
    explanations: ['hello, run 1', 'hello, run 2'].map((name) => ({
      kind: 'explanation',
      name,
      about: {},
      explanation,
    })),
    header: {
      kind: 'experiment',
      version: 1,
      experiment: 'made-up',
      question: 'Does the report look right?',
      startedAt: '2026-01-02T03:04:05.000Z',
      seed: 1,
      plan: '00'.repeat(32),
      factors: { memoryMib: [512], cache: ['cold', 'warm'], restore },
      compare: { factor: 'restore', baseline: { restore: 'vanilla', cache: 'warm' } },
      environment: { lab: 'nested', accelerator: 'tcg', cpu: 'some CPU', kernel: '6.1', kvm: 'hardware' },
    },
    cells,
    sets: [set('hello, run 1', 0), set('hello, run 2', 500)],
  }
}

const python = { pid: 12, name: 'python3' }
/** Several lines of a telephone. */
const longName = `/usr/lib/python3.11/${'a-folder-of-a-long-name/'.repeat(8)}module.so`
const explanation: Explanation = {
  pages: 12_000,
  writtenPages: 9000,
  unexplainedPages: 900,
  skipped: 0,
  hasFrameFlags: true,
  owners: [
    { part: 'anonymous', name: '', processes: [python], pages: 5000, writtenPages: 5000 },
    { part: 'heap', name: '', processes: [python], pages: 2500, writtenPages: 2500 },
    {
      part: 'file',
      name: '/usr/bin/python3.11',
      processes: [python, { pid: 13, name: 'python3' }],
      pages: 1500,
      writtenPages: 0,
    },
    { part: 'kernel', name: 'slab', processes: [], pages: 1200, writtenPages: 1000 },
    { part: 'unexplained', name: '', processes: [], pages: 900, writtenPages: 500 },
    { part: 'free', name: '', processes: [], pages: 600, writtenPages: 0 },
    { part: 'private copy', name: longName, processes: [python], pages: 150, writtenPages: 0 },
    { part: 'stack', name: '', processes: [python], pages: 100, writtenPages: 0 },
    { part: 'shared memory', name: '/dev/shm/it', processes: [python], pages: 50, writtenPages: 0 },
  ],
}

interface Looks {
  readonly scrollWidth: number
  readonly width: number
  readonly pictures: readonly number[]
  readonly headings: readonly string[]
  readonly smallestText: number
  readonly ink: string
  readonly paper: string
}

const looks = `(() => {
  const texts = [...document.querySelectorAll('main *')].filter((it) =>
    [...it.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== ''))
  const style = getComputedStyle(document.body)
  return {
    scrollWidth: document.documentElement.scrollWidth,
    width: innerWidth,
    pictures: [...document.images].map((it) => (it.complete ? it.naturalWidth : 0)),
    headings: [...document.querySelectorAll('h1,h2,h3')].map((it) => it.textContent),
    smallestText: Math.min(...texts.map((it) => parseFloat(getComputedStyle(it).fontSize))),
    ink: style.color,
    paper: style.backgroundColor,
  }
})()`

/** WCAG 2: relative luminance, contrast ratio. */
function contrast(a: string, b: string): number {
  const luminance = (colour: string) => {
    const [red = 0, green = 0, blue = 0] = [...colour.matchAll(/\d+/g)].map(([part]) => {
      const share = Number(part) / 255
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
  }
  const [low = 0, high = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y)
  return (high + 0.05) / (low + 0.05)
}

describe.each([
  { name: 'a wide screen by day', width: 1200, dark: false },
  { name: 'a wide screen by night', width: 1200, dark: true },
  { name: 'a telephone by day', width: 360, dark: false },
  { name: 'a telephone by night', width: 360, dark: true },
])('the report on $name', ({ name, width, dark }) => {
  let found: Looks
  beforeAll(async () => {
    await page.show(pathToFileURL(report).href, { width, dark })
    found = await page.evaluate<Looks>(looks)
    const folder = process.env.VARVE_SCREENSHOTS
    if (folder !== undefined)
      writeFileSync(join(folder, `${name.replaceAll(' ', '-')}.png`), await page.screenshot())
  })

  test('loads nothing but itself, and nothing goes wrong', () => {
    expect(page.requests.filter((url) => !/^(file|data):/.test(url))).toEqual([])
    expect(page.complaints).toEqual([])
  })

  test('fits the screen, in letters that can be read', () => {
    expect(found.width).toBe(width)
    expect(found.scrollWidth).toBeLessThanOrEqual(width)
    expect(found.smallestText).toBeGreaterThanOrEqual(12)
    expect(contrast(found.ink, found.paper)).toBeGreaterThan(7)
    expect(contrast(found.paper, dark ? 'rgb(0,0,0)' : 'rgb(255,255,255)')).toBeLessThan(1.5)
  })

  test('has its parts, and its pictures are pictures', () => {
    expect(found.headings).toEqual(
      expect.arrayContaining([
        'made-up',
        'In short',
        'Side by side',
        'How the rounds spread',
        'Where the time goes',
        'What lost, and why',
        'What was touched',
        'How alike the sets are',
        'Who has the pages',
      ]),
    )
    // Two sets, by class and by time.
    expect(found.pictures).toEqual([512, 512, 512, 512])
  })
})

interface FocusedBox {
  readonly text: string
  readonly share: number
  readonly told: string
  readonly left: number
  readonly width: number
  readonly ink: string
  readonly behind: string
}

/** Goes from box to box of the first picture, as the tabulator key does. */
const boxes = `(() => {
  // A colour that is mixed is told in another form: a canvas turns it into numbers of red, green and blue.
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const rgb = (colour) => {
    canvas.fillStyle = colour
    canvas.fillRect(0, 0, 1, 1)
    return 'rgb(' + [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).join() + ')'
  }
  const picture = document.querySelector('.flame')
  return [...picture.querySelectorAll('[tabindex="0"]')].map((box) => {
    box.focus()
    const told = getComputedStyle(box, '::after')
    const { color, backgroundColor } = getComputedStyle(box)
    return {
      text: box.textContent,
      share: box.getBoundingClientRect().width / picture.getBoundingClientRect().width,
      told: told.content,
      left: picture.getBoundingClientRect().left + parseFloat(told.left),
      width: parseFloat(told.width),
      ink: rgb(color),
      behind: rgb(backgroundColor),
    }
  })
})()`

test.each([
  { width: 1200, dark: false },
  { width: 1200, dark: true },
  { width: 360, dark: false },
  { width: 360, dark: true },
])('each box of a picture of owners can be read, $width wide, dark: $dark', async ({ width, dark }) => {
  await page.show(pathToFileURL(report).href, { width, dark })
  const found = await page.evaluate<readonly FocusedBox[]>(boxes)
  const text = (name: string, pages: number) =>
    `${name}: ${pages.toLocaleString('en-US')} pages, ${((100 * pages) / 12_000).toFixed(1)} %`
  expect(found.map((it) => it.text)).toEqual([
    text('hello, run 1', 12_000),
    text('python3 (12)', 7800),
    text('anonymous', 5000),
    text('heap', 2500),
    text('private copy', 150),
    text(longName, 150),
    text('stack', 100),
    text('several processes', 1500),
    text('file', 1500),
    text('/usr/bin/python3.11', 1500),
    text('kernel', 1200),
    text('slab', 1200),
    text('unexplained', 900),
    text('free', 600),
  ])
  for (const { text: own, share, told, left, width: room, ink, behind } of found) {
    const percent = Number(/([\d.]+) %$/.exec(own)?.[1])
    expect(share).toBeCloseTo(percent / 100, 2)
    // In full, within the screen.
    expect(told).toBe(JSON.stringify(own))
    expect(left).toBeGreaterThanOrEqual(0)
    expect(left + room).toBeLessThanOrEqual(width)
    expect(room).toBeGreaterThan(0.8 * Math.min(width, 1000))
    expect(contrast(ink, behind)).toBeGreaterThan(4.5)
  }
  // A colour for each kind.
  expect(new Set(found.map(({ behind }) => behind)).size).toBe(9)
  const { scrollWidth } = await page.evaluate<Looks>(looks)
  expect(scrollWidth).toBeLessThanOrEqual(width)
  // The table by kind fits without scrolling.
  const hidden =
    "(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(document.querySelector('.kinds .scroll'))"
  expect(await page.evaluate<number>(hidden)).toBe(0)
})

test('lines of the distributions are where their numbers are', async () => {
  await page.show(pathToFileURL(report).href, { width: 1200, dark: false })
  // The first chart: as many lines as contenders that are drawn, all within the
  // plot, more than a few pixels high.
  const boxes = await page.evaluate<readonly { readonly width: number; readonly height: number }[]>(`(() => {
    const plot = document.querySelector('.plot svg')
    return [...plot.querySelectorAll('path[stroke]')].map((it) => {
      const { width, height } = it.getBoundingClientRect()
      return { width, height: height / plot.getBoundingClientRect().height }
    })
  })()`)
  // All here, and the baseline of the warm place for comparison.
  expect(boxes).toHaveLength(2 + engineSettingNames.length + 1)
  for (const { width, height } of boxes) {
    expect(width).toBeGreaterThan(100)
    expect(height).toBeCloseTo(1, 1)
  }
})

test('a screenshot shows it in colours', async () => {
  await page.show(pathToFileURL(report).href, { width: 1200, dark: false })
  const png = await page.screenshot()
  expect(png.subarray(1, 4).toString('latin1')).toBe('PNG')
  // 8 bits of each colour, and far more than a blank page has.
  expect(png.readUInt32BE(16)).toBe(1200)
  expect(png.readUInt32BE(20)).toBeGreaterThan(2000)
  expect(png.length).toBeGreaterThan(100_000)
})
