import type { Command } from './command.js'

/** Every verb with its one line; the module behind it is imported only when it is called. */
export const verbs: Readonly<
  Record<string, { readonly summary: string; readonly load: () => Promise<{ command: Command }> }>
> = {
  boot: {
    summary: 'boot a guest that lives on after this command',
    load: () => import('./commands/boot.js'),
  },
  ps: { summary: 'list machines', load: () => import('./commands/ps.js') },
  pause: { summary: 'stop the vCPUs of machines', load: () => import('./commands/pause.js') },
  resume: { summary: 'start the vCPUs of paused machines', load: () => import('./commands/resume.js') },
  stop: { summary: 'end machines and remove what belongs to them', load: () => import('./commands/stop.js') },
  snapshot: {
    summary: 'write a snapshot of a machine into a directory',
    load: () => import('./commands/snapshot.js'),
  },
  restore: {
    summary: 'start a machine from a snapshot directory',
    load: () => import('./commands/restore.js'),
  },
  inspect: {
    summary: 'explain a state file, memory file or snapshot directory',
    load: () => import('./commands/inspect.js'),
  },
  doctor: {
    summary: 'say what this machine can do, and what to do about what it cannot',
    load: () => import('./commands/doctor.js'),
  },
}

export const exitStatusHelp = `Exit status: 0 done, 1 unexpected, 2 usage, 3 this machine lacks something, 4 bad file,
5 VMM or guest failed, 6 not found, 130 interrupted. See docs/errors.md.`
