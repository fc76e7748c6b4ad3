// For node --import: steps the clock ahead by a year, as happens on a host that gets its time late after
// boot.
const stepMs = 365 * 24 * 3600 * 1000
const now = Date.now
Date.now = () => now() + stepMs
