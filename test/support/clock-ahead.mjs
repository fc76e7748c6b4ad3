// For node --import: the clock was stepped ahead by a year, as a host's is that got its time late after boot.
const stepMs = 365 * 24 * 3600 * 1000
const now = Date.now
Date.now = () => now() + stepMs
