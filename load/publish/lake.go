package publish

import (
	"cmp"

	"github.com/usagelake/usagelake/load"
	"github.com/usagelake/usagelake/schemas"
)

// Lake is a lake and its published file.
type Lake struct {
	*load.Lake
	engine    engine
	viewsFrom int64
	records   schemas.Records
}

// Options of a Lake. The zero value works.
type Options struct {
	load.Options
	// Memory is what DuckDB may use, such as "512MB"; "" is DefaultMemoryLimit, and PublishMemoryLimit to publish. Beyond
	// it, it spills to disk.
	Memory  string
	Threads int // of DuckDB; 0 is GOMAXPROCS, and 1 to publish
	// ViewsFrom is the number of records from which on usage_daily and allocated_daily may be views; 0 is
	// DefaultViewsFrom.
	ViewsFrom int64
	// Records says of which days usage.duckdb is to have the records in itself. Whatever it says, usage has all of them.
	Records schemas.Records
}

// Open is load.Open.
func Open(dir string, opts Options) (*Lake, error) { return opts.lake(load.Open(dir, opts.Options)) }

// Create is load.Create.
func Create(dir string, opts Options) (*Lake, error) {
	return opts.lake(load.Create(dir, opts.Options))
}

func (o Options) lake(l *load.Lake, err error) (*Lake, error) {
	if err != nil {
		return nil, err
	}
	return &Lake{l, engine{memoryLimit: o.Memory, threads: o.Threads}, cmp.Or(o.ViewsFrom, DefaultViewsFrom), o.Records},
		nil
}
