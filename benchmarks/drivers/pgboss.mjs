// Drives pg-boss: two workers with batches of 1,000 and LISTEN where tuned; it polls by itself.
import { DAY, JOB_TYPE, OTHER_TYPE, require, run } from './protocol.mjs'

const { PgBoss } = require('pg-boss')
const TUNED = {
  batchSize: 1000, localConcurrency: 2, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5
}

await run({
  async open(connectionString, options) {
    this.tuned = options.tuned
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
  async addMany(payloads, kind) {
    const startAfter = kind === 'later' ? new Date(Date.now() + DAY) : undefined
    const name = kind === 'other' ? OTHER_TYPE : JOB_TYPE
    await this.boss.insert(name, payloads.map((data) => ({ data, startAfter })))
  },
  async work(handle) {
    await this.boss.work(JOB_TYPE, this.tuned ? TUNED : {}, async (jobs) => {
      for (const job of jobs) handle(job.data)
    })
  }
})
