// Reads the usage of a lake with JavaScript's reader, and prints what python/readers.py does.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'

const [lake, version] = process.argv.slice(2)
const usage = join(lake, 'usage')
const figures = { count: 0, items: 0, null: 0, empty: 0, sum: 0, item_sum: 0, accounts: {}, days: {}, types: { amount: '', account: '' } }
const units = (x) => BigInt(Math.round(x * 1e12)).toString()
for (const account of readdirSync(usage)) {
  for (const day of readdirSync(join(usage, account))) {
    const b = readFileSync(join(usage, account, day, 'usage.parquet'))
    const file = { byteLength: b.byteLength, slice: (from, to) => b.buffer.slice(b.byteOffset + from, b.byteOffset + (to ?? b.byteLength)) }
    for (const r of await parquetReadObjects({ file, compressors })) {
      const amount = r.amount ?? 0
      figures.count++
      figures.sum += amount
      figures.accounts[r.account] = (figures.accounts[r.account] ?? 0) + amount
      const at = r.usage_date.toISOString().slice(0, 10)
      figures.days[at] = (figures.days[at] ?? 0) + amount
      if (r.custom_user_id == null) figures.null++
      else if (r.custom_user_id === '') figures.empty++
      for (const item of r.ext_items ?? []) {
        figures.items++
        figures.item_sum += item.amount ?? 0
      }
      if (r.amount != null) figures.types.amount = typeof r.amount
      figures.types.account = typeof r.account
    }
  }
}
for (const m of ['accounts', 'days']) figures[m] = Object.fromEntries(Object.entries(figures[m]).map(([k, v]) => [k, units(v)]).filter(([k, v]) => m === 'accounts' || v !== '0'))
figures.sum = units(figures.sum)
figures.item_sum = units(figures.item_sum)
console.log(JSON.stringify({ reader: 'hyparquet', version, call: 'parquetReadObjects({file, compressors}), of each file', figures }))
