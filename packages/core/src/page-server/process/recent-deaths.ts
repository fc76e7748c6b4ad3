import { readFileSync, writeFileSync } from 'node:fs'

/** A server that dies so often dies of what it serves, and so would the next one. */
const maxDeaths = 12
const withinMs = 5000

/** Notes that a server died; true if servers die too often to try another. */
export function dieTooOften(path: string, now = Date.now()): boolean {
  const recent = [...readTimes(path).filter((time) => time <= now && time > now - withinMs), now]
  writeFileSync(path, JSON.stringify(recent.slice(-maxDeaths)), { mode: 0o600 })
  return recent.length >= maxDeaths
}

function readTimes(path: string): number[] {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
    return Array.isArray(value) ? value.filter((it): it is number => typeof it === 'number') : []
  } catch {
    return []
  }
}
