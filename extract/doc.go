// Package extract owns the network: it asks the Portal's Manager API for usage and balances, as fast as a key is
// allowed, and hands over answers that are proven complete.
//
//	Client   one request → one answer, retried while that may help, every error with the API's request_id
//	Pacer    when the next request of a key may be sent, and how many may be under way
//	Fetcher  windows → pages, each window complete or reported as failed
//
// Guarantee: what Fetcher yields holds every record the API would give for the window, as far as its answers can show
// (see Fetcher). Limit: it trusts no order, no page size and no total by itself, but two whole passes that agree.
//
// The package keeps nothing: no file, no state between runs.
package extract
