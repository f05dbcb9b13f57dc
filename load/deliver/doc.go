// Package deliver publishes the files of a lake to an object store, and makes a lake of what was delivered.
//
//	plan     the lake's files against those of the last manifest   names, sizes and times; what differs is hashed
//	upload   each changed file under a name that was never used    create-only
//	swap     manifest.json                                         the commit point: one conditional write
//	tables   a Delta log, an Iceberg table over the same files     made up by the next delivery if it was lost
//	expire   what was replaced, once nobody can hold an older manifest
//
// The guarantee: whoever reads a manifest, and then the files that it names, has the lake as it was at one delivery,
// each file whole, for as long as Target.Keep. A delivery that is killed, loses its answers or runs beside another one
// leaves the last manifest as it was, or the next one whole.
//
// What makes it so:
//
//   - A name is the content's digest and the number of the manifest that it was built on. A number is over once another
//     manifest is there, so a name that was retired never comes back, and an object that no manifest lists and whose
//     number is below the current one can be listed by none: Verify sweeps it without a clock.
//   - The manifest is written only in place of the one that the delivery was built on. It holds a random commit id, by
//     which a delivery whose answer was lost knows that it was done.
//   - It holds the lake's id and generation. Another lake is refused, and so is an older copy of this one. Each account
//     has a claim in the bucket, so that two lakes never deliver the same account.
//   - The bytes that are hashed are the bytes that are sent; the store checks the digest as well.
//   - What the lake lacks although nobody removed it by the program's rules stays in the manifest, and is told.
//
// The limit: the package knows neither jobs nor the published file (its copy is one more file), and takes no lock of
// the lake: files are replaced whole beneath it. Memory goes by the files of one account and month, and by the objects
// where Verify holds a listing.
package deliver
