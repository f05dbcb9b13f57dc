package publish

import (
	"github.com/usagelake/usagelake/load"
)

// Lake is a lake and its published file.
type Lake struct {
	*load.Lake
	engine engine
}

// Options of a Lake. The zero value works.
type Options struct {
	load.Options
	// Memory is what DuckDB may use, such as "512MB"; "" is DefaultMemoryLimit. Beyond it, it spills to disk.
	Memory  string
	Threads int // of DuckDB; 0 is GOMAXPROCS
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
	return &Lake{Lake: l, engine: engine{memoryLimit: o.Memory, threads: o.Threads}}, nil
}
