import fc from 'fast-check'
import { VarveError } from 'varve'
import { expect, test } from 'vitest'
import { formatPlace, parsePlace } from './place.js'

test.each([
  [
    'registry.example/team/vms:monday',
    { kind: 'registry', host: 'registry.example', repository: 'team/vms', tag: 'monday' },
  ],
  ['registry.example/vms', { kind: 'registry', host: 'registry.example', repository: 'vms' }],
  ['localhost/vms:a', { kind: 'registry', host: 'localhost', repository: 'vms', tag: 'a' }],
  ['build:5000/vms', { kind: 'registry', host: 'build:5000', repository: 'vms' }],
  ['127.0.0.1:5000/a/b__c', { kind: 'registry', host: '127.0.0.1:5000', repository: 'a/b__c' }],
  ['[::1]:5000/a', { kind: 'registry', host: '[::1]:5000', repository: 'a' }],
  [
    `registry.example/vms:${'a'.repeat(32)}`,
    { kind: 'registry', host: 'registry.example', repository: 'vms', tag: 'a'.repeat(32) },
  ],
  ['s3://bucket', { kind: 'bucket', bucket: 'bucket', prefix: '' }],
  ['s3://bucket/', { kind: 'bucket', bucket: 'bucket', prefix: '' }],
  ['s3://bucket/team/vms#monday', { kind: 'bucket', bucket: 'bucket', prefix: 'team/vms', tag: 'monday' }],
  ['s3://bucket#monday', { kind: 'bucket', bucket: 'bucket', prefix: '', tag: 'monday' }],
  ['oci:/srv/layout:monday', { kind: 'layout', directory: '/srv/layout', tag: 'monday' }],
  ['oci:layout', { kind: 'layout', directory: 'layout' }],
  ['oci:/srv/a:b/layout', { kind: 'layout', directory: '/srv/a:b/layout' }],
  ['file:/srv/store#monday', { kind: 'local', directory: '/srv/store', tag: 'monday' }],
  ['file:///srv/store', { kind: 'local', directory: '/srv/store' }],
])('%s is a place', (text, place) => {
  expect(parsePlace(text)).toEqual(place)
  expect(parsePlace(formatPlace(parsePlace(text)))).toEqual(place)
})

test.each([
  ['', 'registry'],
  ['monday', 'registry'],
  ['team/vms:monday', 'registry'],
  ['registry.example/Team/vms', 'repository'],
  ['registry.example/team//vms', 'repository'],
  ['registry.example/../vms', 'repository'],
  ['registry.example/', 'repository'],
  [`registry.example/${'a'.repeat(250)}`, 'repository'],
  ['registry.example/vms:', 'tag'],
  ['registry.example/vms:-x', 'tag'],
  ['https://registry.example/vms', 'scheme'],
  ['s3://B/prefix', 'bucket'],
  ['s3://', 'bucket'],
  ['s3://a..b', 'bucket'],
  ['s3://bucket/a//b', 'prefix'],
  ['s3://bucket/a/../b', 'prefix'],
  ['s3://bucket/a?b', 'prefix'],
  [`s3://bucket/${'a'.repeat(801)}`, 'prefix'],
  ['oci:', 'directory'],
  ['file:#tag', 'directory'],
  ['registry.example/vms\n', 'control'],
  ['a'.repeat(5000), '4096'],
])('%j is refused, and the message says why', (text, word) => {
  expect(() => parsePlace(text)).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(word) }),
  )
})

test.each([
  'user:secret@registry.example/vms',
  'https://user:secret@registry.example/vms',
  's3://key:secret@bucket/x',
])('a password in %s is not repeated', (text) => {
  try {
    parsePlace(text)
    expect.unreachable()
  } catch (error) {
    expect(error).toBeInstanceOf(VarveError)
    expect(JSON.stringify(error)).not.toContain('secret')
  }
})

test('any text is a place that reads back, or INVALID_ARGUMENT, soon', () => {
  const starts = fc.constantFrom('', 's3://', 'oci:', 'file:', 'registry.example/', 'localhost:5000/a')
  fc.assert(
    fc.property(starts, fc.string({ maxLength: 200 }), (start, rest) => {
      let place: ReturnType<typeof parsePlace>
      try {
        place = parsePlace(start + rest)
      } catch (error) {
        expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' })
        return
      }
      expect(parsePlace(formatPlace(place))).toEqual(place)
    }),
  )
})

test.each([
  ['repository', `registry.example/${'a-'.repeat(2000)}!`],
  ['host', `${'a.'.repeat(2000)}!/x`],
  ['prefix', `s3://bucket/${'a/'.repeat(2000)}?`],
])('a long %s that is wrong at its end is refused within 100 ms', (_, text) => {
  const start = performance.now()
  expect(() => parsePlace(text)).toThrow()
  expect(performance.now() - start).toBeLessThan(100)
})
