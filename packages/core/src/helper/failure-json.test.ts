import { expect, test } from 'vitest'
import { VarveError } from '../errors.js'
import { failureFromJson, failureToJson } from './failure-json.js'

test('a failure comes over with its code and remedy; another one with the code of its helper', () => {
  const known = failureFromJson(
    failureToJson(new VarveError('HOST_UNSUPPORTED', 'no right', { remedy: 'be root' }), 'INJECTION_FAILED'),
    'INJECTION_FAILED',
  )
  expect([known.code, known.message, known.remedy]).toEqual(['HOST_UNSUPPORTED', 'no right', 'be root'])
  expect(
    failureFromJson(failureToJson(new TypeError('oops'), 'LAUNCH_FAILED'), 'INJECTION_FAILED').code,
  ).toBe('LAUNCH_FAILED')
})
