package jobs

import (
	"cmp"

	"github.com/usagelake/usagelake/extract"
	"github.com/usagelake/usagelake/jobs/config"
)

// What a run needs of file descriptors beside its connections: the lake's files, DuckDB's and the log, and of each
// account a file that it seals or derives. The daemon's page has some, too.
const (
	filesOfRun     = 64 + 64
	filesOfAccount = 1
)

// connections is how many requests each of so many accounts may have under way, so that a run does with limit
// descriptors (0: as many as it likes): no more than asked for, and fewer where many share the limit: 100 accounts and
// 1024 make (1024-128)/100-1 = 7 each. One is the least, and fewer than that is an error.
func connections(accounts, asked int, limit uint64) (int, error) {
	asked = cmp.Or(asked, extract.DefaultMaxInFlight)
	if limit == 0 || accounts == 0 {
		return asked, nil
	}
	need := uint64(filesOfRun + accounts*(filesOfAccount+1))
	if limit < need {
		return 0, config.Usage("raise it: ulimit -n, or LimitNOFILE= in the unit; "+
			"or export fewer accounts at once, with --account",
			"%d accounts need %d file descriptors at the least, and the limit of this process is %d", accounts, need, limit)
	}
	return int(min(uint64(asked), (limit-filesOfRun)/uint64(accounts)-filesOfAccount)), nil
}
