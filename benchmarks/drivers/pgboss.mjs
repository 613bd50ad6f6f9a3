// Drives pg-boss: two workers with batches of 1,000 and LISTEN where tuned; it polls by itself.
// With LISTEN it looks for due jobs every 30 s, and twice a second, the most it takes, where they
// matter.
import { DAY, JOB_TYPE, OTHER_TYPE, require, run } from './protocol.mjs'

const { PgBoss } = require('pg-boss')
const TUNED = {
  batchSize: 1000, localConcurrency: 2, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5
}
const TIMELY = { notifyPollingIntervalSeconds: 0.5 }

await run({
  async open(connectionString, options) {
    this.jobType = options.jobType
    this.tuned = options.tuned ? { ...TUNED, ...(options.timely ? TIMELY : {}) } : {}
    // its pool has ten connections by default, as many as W1C wants
    this.boss = new PgBoss({ connectionString, useListenNotify: options.tuned })
    this.boss.on('error', (error) => process.stderr.write(`${error.stack}\n`))
    await this.boss.start()
  },
  async create() {
    for (const name of [JOB_TYPE, OTHER_TYPE]) {
      await this.boss.createQueue(name, { notify: true })
    }
  },
  async add(payload) {
    await this.boss.send(JOB_TYPE, payload)
  },
  async addAt(payload, startAfter) {
    await this.boss.send(JOB_TYPE, payload, { startAfter })
  },
  async addMany(payloads, kind) {
    const startAfter = kind === 'later' ? new Date(Date.now() + DAY) : undefined
    const name = kind === 'other' ? OTHER_TYPE : JOB_TYPE
    await this.boss.insert(name, payloads.map((data) => ({ data, startAfter })))
  },
  async work(handle) {
    await this.boss.work(this.jobType, this.tuned, async (jobs) => {
      for (const job of jobs) handle(job.data)
    })
  }
})
