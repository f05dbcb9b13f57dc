package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// answer is what a child tells of its run, on stdout.
type answer struct {
	V map[string]float64 // figures
	S map[string]string  // texts
}

func newAnswer() *answer { return &answer{V: map[string]float64{}, S: map[string]string{}} }

// run is a measured process.
type run struct {
	answer
	Wall, CPU float64 // seconds; CPU is user and system
	RSS       float64 // bytes, the most it was
	Written   float64 // bytes sent towards the disk
}

// child runs this program again as a process of its own, so that its CPU and its memory are nobody else's.
func (b *bench) child(name string, args ...string) (run, error) {
	return b.process(b.self, append([]string{"child", name}, args...)...)
}

// process runs a program and measures it.
func (b *bench) process(program string, args ...string) (run, error) {
	cmd := exec.CommandContext(b.ctx, program, args...)
	cmd.Env = b.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	r := run{Wall: time.Since(start).Seconds()}
	if err != nil {
		return r, fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, tail(errs.String()))
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	r.CPU = seconds(usage.Utime) + seconds(usage.Stime)
	r.RSS = float64(usage.Maxrss) * 1024
	r.Written = float64(usage.Oublock) * 512
	if program == b.self {
		if err := json.Unmarshal(out.Bytes(), &r.answer); err != nil {
			return r, fmt.Errorf("%s: what it printed is no JSON: %w", strings.Join(args, " "), err)
		}
		// Linux hands the largest size of the process that starts another on to it, so a child reads its own.
		r.RSS = r.V["peak"]
	}
	return r, nil
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

func seconds(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// cpuSeconds is what this process has used.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return seconds(u.Utime) + seconds(u.Stime)
}

// procValue reads a line such as "VmHWM:  1234 kB" of a file under /proc; 0 if there is none.
func procValue(file, name string) float64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			fields := strings.Fields(rest)
			v, _ := strconv.ParseFloat(fields[0], 64)
			if len(fields) > 1 && fields[1] == "kB" {
				v *= 1024
			}
			return v
		}
	}
	return 0
}

// peak is the most memory this process held, in bytes, since it began or since resetPeak.
func peak() float64 { return procValue("/proc/self/status", "VmHWM") }

// resetPeak makes peak begin anew, so that a later stage has its own.
func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// written is how many bytes this process has sent towards the disk, those it shared or copied in the kernel included.
func written() float64 { return procValue("/proc/self/io", "write_bytes") }

// variant is one of the ways that are compared.
type variant struct {
	name string
	run  func() (run, error)
}

// turns runs the variants one after the other, n times over: A B A B, so that what else the machine does meets all.
func turns(n int, variants ...variant) (map[string][]run, error) {
	out := map[string][]run{}
	for range n {
		for _, v := range variants {
			r, err := v.run()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", v.name, err)
			}
			out[v.name] = append(out[v.name], r)
		}
	}
	return out, nil
}

// sample is a figure's values, run by run.
type sample []float64

func (s sample) median() float64 {
	if len(s) == 0 {
		return 0
	}
	t := slices.Sorted(slices.Values(s))
	if n := len(t); n%2 == 0 {
		return (t[n/2-1] + t[n/2]) / 2
	}
	return t[len(t)/2]
}

// text is the median, and in brackets from the least to the most.
func (s sample) text(digits int) string {
	if len(s) == 0 {
		return "–"
	}
	f := func(v float64) string { return strconv.FormatFloat(v, 'f', digits, 64) }
	if len(s) == 1 {
		return f(s[0])
	}
	return fmt.Sprintf("%s (%s–%s)", f(s.median()), f(slices.Min(s)), f(slices.Max(s)))
}

// take picks a figure of each run.
func take(runs []run, f func(run) float64) sample {
	var s sample
	for _, r := range runs {
		s = append(s, f(r))
	}
	return s
}

// ratio divides run by run.
func ratio(a, b sample) sample {
	var s sample
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			s = append(s, a[i]/b[i])
		}
	}
	return s
}

func wall(r run) float64 { return r.Wall }
func cpu(r run) float64  { return r.CPU }
func rss(r run) float64  { return r.RSS }
func value(name string) func(run) float64 {
	return func(r run) float64 { return r.V[name] }
}

func mib(v float64) string { return fmt.Sprintf("%.0f MiB", v/(1<<20)) }

// thousands writes 1234567 as 1,234,567.
func thousands(v float64) string {
	s := strconv.FormatInt(int64(v), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

var errChild = errors.New("unknown child")

// background bounds a whole bench, so that a stuck part ends it.
func background(limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), limit)
}
