/** An answer that waits for the end of something waits no longer; the owner then asks again. */
export const waitMs = 5000
