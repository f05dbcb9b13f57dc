package alert

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/usagelake/usagelake/schemas/words"
)

// Command runs a program for each message, without a shell, and gives it the message's JSON on stdin. A message is
// taken if it exits with 0. What it prints is logged. A program that exits otherwise refuses the message; one that
// can't be started, or is killed for its time, has not answered, and the message waits.
type Command struct {
	Receiver string
	Argv     []string
	Timeout  time.Duration // it is killed then, and what it started with it; 0: DefaultTimeout
	Hide     []string      // variables that it isn't given: those that hold the keys
	Logger   *slog.Logger
}

// Name is the receiver's.
func (c *Command) Name() string { return c.Receiver }

// maxOutput is how much of what a command prints is kept.
const maxOutput = 4 << 10

// Send runs the command.
func (c *Command) Send(ctx context.Context, m Message) error {
	body, err := m.JSON()
	if err != nil {
		return &SendError{Receiver: c.Receiver, Detail: err.Error(), Refused: true}
	}
	return c.Run(ctx, append(body, '\n'), "message", m.ID)
}

// Run runs the command with this on its stdin and further variables of the environment. what and id are what it is
// about, for the log. The error is a *SendError or the context's.
func (c *Command) Run(ctx context.Context, stdin []byte, what, id string, environment ...string) error {
	timeout := cmp.Or(c.Timeout, DefaultTimeout)
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(c.Hide, name)
	}), environment...)
	cmd.Stdin = bytes.NewReader(stdin)
	out := &head{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // for what it started and left holding its output
	ownGroup(cmd)
	err := cmd.Run()
	said := strings.TrimSpace(words.Line(out.String()))
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it exited with 0, and something in the background goes on
	}
	switch {
	case err == nil:
		c.Logger.Debug("the command is done", "receiver", c.Receiver, what, id, "output", said)
		return nil
	// The check was broken off, not the command: no failure of it. limited ends with ctx, so this comes first.
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return &SendError{Receiver: c.Receiver, Detail: fmt.Sprintf("%s did not end within %s and was killed", c.Argv[0],
			timeout)}
	}
	detail := fmt.Sprintf("%s: %v", c.Argv[0], err)
	exit := (*exec.ExitError)(nil)
	if errors.As(err, &exit) && said != "" {
		detail += ": " + said
	}
	return &SendError{Receiver: c.Receiver, Detail: detail, Refused: exit != nil}
}

// head keeps the beginning of what is written to it, and takes all of it, so that no command blocks on a full pipe.
// Both of a command's outputs are the same head, which os/exec writes to from one goroutine, and lets go of before Run
// returns.
type head struct{ b []byte }

func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), maxOutput-len(h.b))]...)
	return len(p), nil
}

func (h *head) String() string { return string(h.b) }

// Log writes each notification to the log: critical ones as errors, others as warnings, and those that are over as
// information.
type Log struct {
	Receiver string
	Logger   *slog.Logger
}

// Name is the receiver's.
func (l *Log) Name() string { return l.Receiver }

// Send writes the lines.
func (l *Log) Send(ctx context.Context, m Message) error {
	for _, n := range m.Notifications {
		level := slog.LevelWarn
		switch {
		case n.State == Over:
			level = slog.LevelInfo
		case n.Severity == Critical:
			level = slog.LevelError
		}
		l.Logger.Log(ctx, level, "alert", "state", n.State, "rule", n.Rule, "severity", n.Severity, "subject",
			words.Line(n.Subject),
			"summary", words.Line(n.Summary), "since", n.Since, "id", n.ID)
	}
	return nil
}
