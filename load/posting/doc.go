// Package posting turns what is charged in a period into entries of a general ledger, and writes them in the forms that
// ledgers import.
//
//	Journal: the debits of a period in a currency, in whole minor units, and the account that is credited
//	Entries: Journal → a charge, or an accrual and its reversal, each line with an id that is the same on every run
//	Write:   entries → the files of a Format: a table of the vendor's own columns, DATEV's, or plain-text accounting
//
// What is written balances, entry by entry: one that doesn't is an error and no file. Amounts are rounded by whoever
// makes the Journal; the exact ones are notes. A code that a ledger can't take (an account, a cost centre, a number) is
// an error that names it, and is never cut; texts are cut where a ledger limits them, their ids never.
//
// What a format is made of, and where that is written, stands in formats.go as data.
package posting
