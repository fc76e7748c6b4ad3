import { VarveError } from '../errors.js'
import { notFound } from '../not-found.js'
import type { WorkingSet } from '../working-set/working-set.js'
import { readWorkingSet } from '../working-set/working-set-file.js'
import { keepSnapshot } from './open-snapshot.js'
import type { Repository } from './repository.js'
import type { WorkOptions } from './snapshot-store.js'

export interface WorkingSetReference {
  readonly ref: string
  readonly name: string
}

/**
 * Takes `REF:NAME` apart. INVALID_ARGUMENT if it is not that. Neither a reference nor a name can have a
 * colon.
 */
export function workingSetReference(text: string): WorkingSetReference {
  const [ref = '', name = '', ...more] = text.split(':')
  if (ref !== '' && name !== '' && more.length === 0) return { ref, name }
  throw new VarveError(
    'INVALID_ARGUMENT',
    `${JSON.stringify(text)} is not REF:NAME, the working set NAME of the snapshot REF`,
  )
}

/**
 * Reads a set that a snapshot keeps. A lease holds the snapshot meanwhile; of its blobs, only the set's is
 * verified.
 */
export async function readKeptWorkingSet(
  repository: Repository,
  { ref, name }: WorkingSetReference,
  options: WorkOptions,
): Promise<WorkingSet> {
  await using snapshot = await keepSnapshot(repository, ref, options)
  const found = snapshot.workingSets.find((it) => it.name === name)
  if (found === undefined)
    throw noSuchWorkingSet(
      snapshot.entry.id,
      name,
      snapshot.workingSets.map((it) => it.name),
    )
  await repository.blobs.assertRight(found.descriptor, options)
  return await readWorkingSet(repository.blobs.path(found.descriptor.digest), options)
}

export function noSuchWorkingSet(id: string, name: string, others: readonly string[]): VarveError {
  return notFound('working set', `snapshot ${id} has no working set ${name}`, {
    remedy:
      others.length === 0
        ? 'the snapshot has no working set: record one (varve ws record), or name one of an ancestor as REF:NAME'
        : `it has ${others.join(', ')}`,
  })
}
