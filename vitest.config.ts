import { defineConfig } from 'vitest/config'

// Four projects: `unit` lies alongside the sources; `docs` checks pages against the built
// packages; `real` runs the built product (node_modules/varve -> packages/core/dist) against a real Firecracker,
// one file at a time; `nested` does so in the nested lab. `npm test` runs the last one alongside the others.
const inNestedLab = ['test/nested-lab/**/*.test.ts', 'test/linux/**/*.test.ts']
const ofPages = ['links', 'commands', 'code-blocks', 'public-types'].map(
  (name) => `test/docs/${name}.test.ts`,
)
/** Makes packages/core/dist of the present sources: some unit tests start programs, and the command's import `varve`. */
const bundled = ['scripts/bundle.mjs']
const oneByOne = { fileParallelism: false, testTimeout: 120_000, hookTimeout: 300_000 }

export default defineConfig({
  test: {
    // vitest leaves one CPU to itself, which on a machine of two means one test file at a time.
    maxWorkers: '100%',
    projects: [
      {
        test: {
          name: 'unit',
          globalSetup: bundled,
          include: ['packages/*/src/**/*.test.ts', 'test/scenarios/src/**/*.test.ts', 'scripts/**/*.test.ts'],
          testTimeout: 20_000,
          sequence: { groupOrder: 0 },
        },
      },
      { test: { name: 'docs', globalSetup: bundled, include: ofPages, sequence: { groupOrder: 0 } } },
      {
        test: {
          name: 'real',
          globalSetup: bundled,
          include: ['test/**/*.test.ts'],
          exclude: [...inNestedLab, ...ofPages, 'test/scenarios/**'],
          // After the unit tests, not alongside them: some of these measure how soon something happens.
          sequence: { groupOrder: 1 },
          ...oneByOne,
        },
      },
      {
        test: {
          name: 'nested',
          globalSetup: bundled,
          include: inNestedLab,
          sequence: { groupOrder: 2 },
          ...oneByOne,
        },
      },
    ],
    coverage: { provider: 'v8', include: ['packages/*/src/**/*.ts'], exclude: ['**/*.test.ts'] },
  },
})
