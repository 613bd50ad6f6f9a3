// Drives Graphile Worker: concurrency 100 and a local queue of 2,000 where tuned. It looks for due
// jobs every 2 s by itself, and ten times a second where they matter.
import { DAY, JOB_TYPE, OTHER_TYPE, require, run } from './protocol.mjs'

const { Logger, makeWorkerUtils, run: runWorker } = require('graphile-worker')
const logger = new Logger(() => () => {})

const TUNED = {
  concurrentJobs: 100,
  maxPoolSize: 12,
  localQueue: { size: 2000 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0
}
const POLL_INTERVAL = 100

await run({
  async open(dsn, options) {
    this.dsn = dsn
    this.options = options
    this.tuned = options.tuned ? { ...TUNED } : {}
    if (options.slots) this.tuned.concurrentJobs = options.slots
    if (options.timely) this.tuned.pollInterval = POLL_INTERVAL
  },
  async utils() {
    const pool = this.options.connections ? { maxPoolSize: this.options.connections } : {}
    this.kept ??= await makeWorkerUtils({ connectionString: this.dsn, logger, ...pool })
    return this.kept
  },
  async create() {
    await (await this.utils()).migrate()
  },
  async add(payload) {
    await (await this.utils()).addJob(JOB_TYPE, payload)
  },
  async addAt(payload, runAt) {
    await (await this.utils()).addJob(JOB_TYPE, payload, { runAt })
  },
  async addMany(payloads, kind) {
    const identifier = kind === 'other' ? OTHER_TYPE : JOB_TYPE
    const runAt = kind === 'later' ? new Date(Date.now() + DAY) : undefined
    await (await this.utils()).addJobs(payloads.map((payload) => ({ identifier, payload, runAt })))
  },
  async work(handle) {
    await runWorker({
      preset: { worker: { connectionString: this.dsn, ...this.tuned } },
      logger,
      taskList: { [this.options.jobType]: async (payload) => handle(payload) }
    })
  }
})
