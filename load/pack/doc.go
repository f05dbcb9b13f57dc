// Package pack makes what is handed out of a closed month: for each cost centre a folder, and a zip of the same files,
// with its statement, the records that it is charged for, the lines of the journal that debit it, and an index.
//
//	the closed month · a lake in which its records were derived anew · the published file, whose journal is the month's
//	  ─▶ of each cost centre: statement as it was closed · records with its parts of the shared pools · journal
//	  ─▶ held against the statement: records + parts + corrections = charged, to the last digit
//	  ─▶ manifest.json of each · index.json of all · packages/MONTH, by one rename
//
// It guarantees that a package has nothing of another cost centre's (of the records of a pool the time, the model and
// the own part alone), that what it has sums to what is charged, that the same month gives the same bytes, and that the
// packages of a month are there all or not at all. It remembers what was delivered to whom (Deliveries), and delivers
// nothing: its limit.
package pack
