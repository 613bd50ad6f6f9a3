// Drives Graphile Worker: concurrency 100 and a local queue of 2,000 where tuned.
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

await run({
  async open(dsn, options) {
    this.dsn = dsn
    this.tuned = options.tuned ? TUNED : {}
  },
  async utils() {
    this.kept ??= await makeWorkerUtils({ connectionString: this.dsn, logger })
    return this.kept
  },
  async create() {
    await (await this.utils()).migrate()
  },
  async add(payload) {
    await (await this.utils()).addJob(JOB_TYPE, payload)
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
      taskList: { [JOB_TYPE]: async (payload) => handle(payload) }
    })
  }
})
