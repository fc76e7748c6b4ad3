// `npm run demo`: sets everything up, then tells the story of one layered restore on a real Firecracker.
import { everything, root, run } from './setup.mjs'

await everything({ nested: false })
run(process.execPath, [`${root}packages/lab/bin/demo.js`, ...process.argv.slice(2)])
