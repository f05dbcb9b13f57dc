// Package catalog speaks to a catalog of Iceberg tables by Iceberg's REST protocol, as Polaris, Lakekeeper, Nessie,
// Unity, Glue and others do. It owns the protocol and its credentials, for one table:
//
//	Load    the table as it is
//	Create  if there is none of its name
//	Commit  changes, if what they require of the table holds
//
// The guarantee: a Commit is sent once. It was done (nil), it was not (any other error), or nobody can tell (ErrUnsure:
// the answer was lost, or says 5xx); whoever must know loads the table. Credentials go to the host of the catalog, and
// to that which is named for tokens, by https:// or within this machine; they are in no error.
//
// The limit: it knows neither what a table's metadata mean nor what changes are made of. It follows no redirect, takes
// no credentials for stores from a catalog, and lets it move itself to no other host.
package catalog
