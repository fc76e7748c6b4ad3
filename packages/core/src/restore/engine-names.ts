/** Engines for every use; docs/guides/engines.md says which fits when. */
export const engineNames = ['file', 'paged', 'mapped'] as const
/** To be used only by those who know what they do; see docs/guides/engines.md. */
export const experimentalEngineNames = ['patched'] as const
/** The name of an engine. */
export type EngineName = (typeof engineNames)[number] | (typeof experimentalEngineNames)[number]

/** `auto`: whichever fits this snapshot on this host; the report says which, and why. */
export const engineChoices = [...engineNames, ...experimentalEngineNames, 'auto'] as const

export type AskedEngine = (typeof engineChoices)[number]

export const defaultEngine: AskedEngine = 'auto'
