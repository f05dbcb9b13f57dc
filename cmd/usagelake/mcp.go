package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usagelake/usagelake/jobs"
	"github.com/usagelake/usagelake/jobs/config"
	"github.com/usagelake/usagelake/jobs/serve/assist"
	"github.com/usagelake/usagelake/jobs/serve/library"
	"github.com/usagelake/usagelake/load/publish"
	"github.com/usagelake/usagelake/load/query"
	"github.com/usagelake/usagelake/schemas/words"
)

func (a *app) mcpCommand() *cobra.Command {
	var viewer, as string
	c := &cobra.Command{
		Use:   "mcp",
		Short: "Answer an assistant, over the Model Context Protocol",
		Long: `mcp answers an assistant that speaks the Model Context Protocol over stdin and stdout: the twenty questions,
the reports, the views with what their columns mean, and SQL that reads. An assistant's client starts it; what is
published meanwhile is answered from at once. It reads the published file, changes nothing and needs no lock and no key.
Each answer says when it was published, how far the usage goes and how complete it is.

--viewer NAME answers with what that viewer of serve: viewers: sees, and nothing else; where the config has viewers, one
must be named (operator sees all). --as names the person, where the viewer's map says who sees what. It narrows what the
assistant gets: it isn't a lock, for whoever can start this can read the file. What is answered goes to wherever the
assistant's model runs. See docs/assistants.md.`,
		Example: `  usagelake mcp --lake usagelake-demo                          what a client is told to start
  usagelake mcp --viewer search-team                           with what search-team sees
  usagelake mcp --viewer people --as ann@example.com           with what the map says that Ann sees`,
		RunE: func(c *cobra.Command, _ []string) error { return a.mcp(c.Context(), viewer, as) },
	}
	c.Flags().StringVar(&viewer, "viewer", "", "answer with what this `viewer` of the config sees")
	c.Flags().StringVar(&as, "as", "", "the `person`, where the viewer's map says who sees what")
	return c
}

// mcp answers until stdin or ctx ends.
func (a *app) mcp(ctx context.Context, viewer, as string) error {
	if a.json() {
		return config.Usage("usagelake mcp --help", "mcp has no use for --output json: its stdout is the protocol's")
	}
	cfg, err := a.lakeConfig()
	if err != nil {
		return err
	}
	sight, name, err := sightOf(cfg, viewer, as)
	if err != nil {
		return err
	}
	open := func() (*publish.Lake, error) {
		lake, err := publish.Open(cfg.Lake, a.env().LakeOptions(cfg))
		if err != nil {
			return nil, jobs.NoLake(err)
		}
		return lake, nil
	}
	// A lake that isn't there is a mistake of whoever set this up; one that isn't published yet is told to the assistant.
	if _, err := open(); err != nil {
		return err
	}
	if _, err := sight(); err != nil && !errors.Is(err, assist.ErrNobody) {
		return err
	}
	if a.Terminal && !a.quiet {
		fmt.Fprintln(a.Stderr, "mcp talks to an assistant's client over stdin and stdout: see docs/assistants.md. "+
			"(Ctrl-D ends it)")
	}
	s := assist.New(assist.Options{Lake: open, Sight: sight, Viewer: name, Version: version(), Now: a.Now,
		EndUsers: func() (query.EndUsers, error) { return cfg.EndUsers.Handed(a.Getenv) },
		Posting:  cfg.Journal.Posting(), Logger: a.scheduleLog()})
	defer s.Close()
	a.printed = true // stdout has the protocol, and nothing after it
	if err := s.Serve(ctx, a.Stdin, a.Stdout); err != nil && !errors.Is(err, io.EOF) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &config.Hint{Err: fmt.Errorf("what came over stdin can't be answered: %w", err),
			Hint: "an assistant's client starts this: docs/assistants.md"}
	}
	return nil
}

// sightOf is what a viewer of the config sees, of one with a map as the map says at each call, and what the viewer is
// called.
func sightOf(cfg *config.Config, viewer, as string) (func() (library.Sight, error), string, error) {
	var names []string
	for _, v := range cfg.Serve.Viewers {
		names = append(names, v.Name)
	}
	names = append(names, config.OperatorViewer)
	i := slices.Index(names, viewer)
	switch {
	case viewer == "" && as != "":
		return nil, "", config.Usage("", "--as is for a --viewer whose map says who sees what")
	case viewer == "" && len(cfg.Serve.Viewers) > 0:
		return nil, "", config.Usage("usagelake mcp --viewer "+names[0],
			"the config says who sees what: name one with --viewer: %s", strings.Join(names, ", "))
	case viewer != "" && i < 0:
		return nil, "", config.Usage("serve: viewers: in the config names them", "--viewer %s: there is no such viewer%s",
			words.Cell(viewer), words.Nearest(viewer, names))
	case viewer == "" || viewer == config.OperatorViewer:
		if as != "" {
			return nil, "", config.Usage("", "--as %s: operator sees all", as)
		}
		return func() (library.Sight, error) { return library.Sight{All: true}, nil }, viewer, nil
	}
	v := cfg.Serve.Viewers[i]
	switch {
	case v.Map != "" && as == "":
		return nil, "", config.Usage("usagelake mcp --viewer "+v.Name+" --as ann@example.com",
			"--viewer %s is several people: say which with --as", v.Name)
	case v.Map == "" && as != "":
		return nil, "", config.Usage("", "--as %s: the viewer %s has no map of people", as, v.Name)
	case v.Map == "":
		return func() (library.Sight, error) {
			return library.Sight{All: v.Sees == config.SeesAll, Scope: v.Scope()}, nil
		}, v.Name, nil
	}
	person := strings.ToLower(strings.TrimSpace(as))
	return func() (library.Sight, error) {
		people, err := v.People()
		if err != nil {
			return library.Sight{}, err
		}
		scope, ok := people[person]
		if !ok {
			return library.Sight{}, assist.ErrNobody
		}
		return library.Sight{Scope: scope}, nil
	}, person, nil
}
