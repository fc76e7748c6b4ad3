import type { Command } from './command.js'

/** One verb with its one line; the module behind it is imported only when it is called. */
export interface Verb {
  readonly summary: string
  readonly load: () => Promise<{ readonly command: Command }>
}

/** A word that stands before verbs of its own: `varve snapshot ls`. */
export interface VerbGroup {
  readonly summary: string
  readonly verbs: Readonly<Record<string, Verb>>
}

const snapshot: VerbGroup = {
  summary: 'take snapshots into the store, and look after them',
  verbs: {
    create: {
      summary: 'take a snapshot of a machine, on top of its last one',
      load: () => import('./commands/snapshot/create.js'),
    },
    watch: {
      summary: 'take snapshots of a machine again and again, and keep the last ones',
      load: () => import('./commands/snapshot/watch.js'),
    },
    ls: { summary: 'list snapshots, also as a tree', load: () => import('./commands/snapshot/ls.js') },
    show: {
      summary: 'show one: machine, disks, layers, where its pages come from',
      load: () => import('./commands/snapshot/show.js'),
    },
    log: {
      summary: 'show a snapshot, its parent, and so on down to the base',
      load: () => import('./commands/snapshot/log.js'),
    },
    tag: {
      summary: 'give names to snapshots, or remove names',
      load: () => import('./commands/snapshot/tag.js'),
    },
    rm: {
      summary: 'remove the tags of snapshots; gc then frees what nothing needs',
      load: () => import('./commands/snapshot/rm.js'),
    },
    diff: {
      summary: 'compare the memory of two snapshots page by page',
      load: () => import('./commands/snapshot/diff.js'),
    },
  },
}

const ws: VerbGroup = {
  summary: 'working sets: which pages a restored guest needs, and which of them it only reads',
  verbs: {
    record: {
      summary: 'record which pages a guest reads and writes while it works',
      load: () => import('./commands/ws/record.js'),
    },
    ls: { summary: 'list working sets', load: () => import('./commands/ws/ls.js') },
    show: {
      summary: 'show one: classes, layers, a map of the memory, also as pictures',
      load: () => import('./commands/ws/show.js'),
    },
    explain: {
      summary: 'say who in the guest has the pages: processes, files, the kernel',
      load: () => import('./commands/ws/explain.js'),
    },
    union: { summary: 'pages that any of several sets has', load: () => import('./commands/ws/union.js') },
    intersect: {
      summary: 'pages that all of several sets have',
      load: () => import('./commands/ws/intersect.js'),
    },
    common: {
      summary: 'pages that at least K of several sets have',
      load: () => import('./commands/ws/common.js'),
    },
    compare: {
      summary: 'how much of one set another one covers; drift over several',
      load: () => import('./commands/ws/compare.js'),
    },
    export: { summary: 'write one into a file', load: () => import('./commands/ws/export.js') },
    rm: { summary: 'remove sets from their snapshots', load: () => import('./commands/ws/rm.js') },
  },
}

const lab: VerbGroup = {
  summary: 'experiments: every engine side by side on real VMs, and a report',
  verbs: {
    run: {
      summary: 'run an experiment, or resume one that was interrupted',
      load: () => import('./commands/lab/run.js'),
    },
    ls: { summary: 'list the experiments', load: () => import('./commands/lab/ls.js') },
    report: {
      summary: 'make the report of an experiment from its rows',
      load: () => import('./commands/lab/report.js'),
    },
  },
}

const guest: VerbGroup = {
  summary: 'Linux guests made of images: root disk, kernel, agent',
  verbs: {
    build: { summary: 'make a guest of an image', load: () => import('./commands/guest/build.js') },
    ls: { summary: 'list guests', load: () => import('./commands/guest/ls.js') },
    show: {
      summary: 'show one: image, files, how to run it',
      load: () => import('./commands/guest/show.js'),
    },
    rm: { summary: 'remove guests and what only they need', load: () => import('./commands/guest/rm.js') },
  },
}

/** A part of `varve help`: what one wants to do, and the verbs for it. */
export interface Task {
  readonly title: string
  readonly verbs: VerbGroup['verbs'] | Readonly<Record<string, Verb | VerbGroup>>
}

export const tasks: readonly Task[] = [
  {
    title: 'Machines',
    verbs: {
      guest,
      boot: {
        summary: 'boot a guest that lives on after this command',
        load: () => import('./commands/boot.js'),
      },
      ps: { summary: 'list machines', load: () => import('./commands/ps.js') },
      stats: {
        summary: 'show what restored machines have used: faults, reads, memory',
        load: () => import('./commands/stats.js'),
      },
      run: {
        summary: 'boot or restore a guest, run a command in it, end it',
        load: () => import('./commands/run.js'),
      },
      exec: { summary: 'run a command in a guest', load: () => import('./commands/exec.js') },
      put: { summary: 'write a file into a guest', load: () => import('./commands/put.js') },
      get: { summary: 'read a file out of a guest', load: () => import('./commands/get.js') },
      logs: { summary: 'show the console of a guest', load: () => import('./commands/logs.js') },
      pause: { summary: 'stop the vCPUs of machines', load: () => import('./commands/pause.js') },
      resume: { summary: 'start the vCPUs of paused machines', load: () => import('./commands/resume.js') },
      stop: {
        summary: 'end machines and remove what belongs to them',
        load: () => import('./commands/stop.js'),
      },
    },
  },
  {
    title: 'Snapshots',
    verbs: {
      snapshot,
      restore: {
        summary: 'start a machine from a snapshot',
        load: () => import('./commands/restore.js'),
      },
      clone: {
        summary: 'start several machines from a snapshot',
        load: () => import('./commands/clone.js'),
      },
    },
  },
  {
    title: 'Working sets',
    verbs: {
      ws,
    },
  },
  {
    title: 'Layers and files',
    verbs: {
      squash: {
        summary: 'merge several layers of a snapshot into one',
        load: () => import('./commands/squash.js'),
      },
      pack: {
        summary: 'write layers of a snapshot in another layout',
        load: () => import('./commands/pack.js'),
      },
      flatten: {
        summary: 'write a snapshot as a memory file that plain Firecracker loads',
        load: () => import('./commands/flatten.js'),
      },
      inspect: {
        summary: 'explain a state file, a memory file, a layer, or a directory of them',
        load: () => import('./commands/inspect.js'),
      },
    },
  },
  {
    title: 'The store',
    verbs: {
      du: {
        summary: 'show what each layer takes, and why',
        load: () => import('./commands/du.js'),
      },
      fsck: {
        summary: 'check every byte and link of the store, and say what to do',
        load: () => import('./commands/fsck.js'),
      },
      gc: { summary: 'remove what no tag and no machine needs', load: () => import('./commands/gc.js') },
      export: {
        summary: 'write snapshots into one file',
        load: () => import('./commands/export.js'),
      },
      import: { summary: 'take snapshots from such a file', load: () => import('./commands/import.js') },
    },
  },
  {
    title: 'Registries and buckets',
    verbs: {
      push: {
        summary: 'send a snapshot to a registry or a bucket',
        load: () => import('./commands/push.js'),
      },
      pull: {
        summary: 'fetch a snapshot from a registry or a bucket into the store',
        load: () => import('./commands/pull.js'),
      },
      ls: {
        summary: 'list the snapshots in a registry or a bucket',
        load: () => import('./commands/ls.js'),
      },
      rm: {
        summary: 'remove a tag in a registry or a bucket',
        load: () => import('./commands/rm.js'),
      },
    },
  },
  {
    title: 'Measuring',
    verbs: {
      bench: {
        summary: 'measure every engine against Firecracker alone on this machine',
        load: () => import('./commands/bench.js'),
      },
      lab,
    },
  },
  {
    title: 'This host',
    verbs: {
      doctor: {
        summary: 'say what this machine can do, and how to get what it lacks',
        load: () => import('./commands/doctor.js'),
      },
      completion: {
        summary: 'print what makes a shell complete this command',
        load: () => import('./commands/completion.js'),
      },
    },
  },
]

export const verbs: Readonly<Record<string, Verb | VerbGroup>> = Object.assign(
  {},
  ...tasks.map((task) => task.verbs),
)

/**
 * What the first words of a command line name, and the words after it. Undefined if there is no such verb.
 */
export function findVerb(
  words: readonly string[],
): { readonly name: string; readonly entry: Verb | VerbGroup; readonly rest: readonly string[] } | undefined {
  const [first = '', second = ''] = words
  if (!Object.hasOwn(verbs, first)) return undefined
  const entry = verbs[first] as Verb | VerbGroup
  if (!('verbs' in entry) || !Object.hasOwn(entry.verbs, second))
    return { name: first, entry, rest: words.slice(1) }
  return { name: `${first} ${second}`, entry: entry.verbs[second] as Verb, rest: words.slice(2) }
}
