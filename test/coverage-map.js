// Whose coverage tap records: not that of random programs, of browsers and of instances in processes of their own. To count
// each branch slows the million events of the first by a third, and the others run next to nothing of lib in their own process.
const UNRECORDED = /-(?:guide-readme|showcases|redis-faults|transports-proxies|streams-soak|brokers-redis-(?:clients|restart|loss|order)|browser-showcase-\w+|security-wire-fuzz)\.js$/

/** For a test file nothing, or all of lib that it runs. */
export default file => UNRECORDED.test(file) ? null : []
