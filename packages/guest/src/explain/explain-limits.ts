/** Bounds of what a guest may say of its pages (docs/formats/page-owners.md). */

/** Names of files are up to 4,096 bytes; each may need four characters. */
export const maxLineBytes = 20_000
export const maxReportBytes = 512 * 1024 * 1024
export const maxProcesses = 32_768
/** Processes and their mappings, and files. */
export const maxOwners = 2 ** 19
/** Of the names of those that have pages of the set, which stay in memory. */
export const maxNameBytes = 64 * 1024 * 1024
/** Pairs of a page of the set and an owner: 12 bytes each while they are sorted. */
export const maxClaims = 2 ** 24
/** Owners of all groups of pages that have the same owners: these stay in memory until the end. */
export const maxGroupedClaims = 2 ** 22
/** Of one run, and of the runs of all owners together: bounds the time that a report takes. */
export const maxClaimedFrames = 2 ** 30
/** Of /proc/iomem. */
export const maxResourceBytes = 1024 * 1024
export const maxResources = 16_384
/** Code, rodata, data and bss, each once. */
export const maxKernelRanges = 8
