//go:build linux

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// crashedMain is main, which crashes in the way that its last argument says.
func crashedMain() {
	begin()
	crash(os.Args[len(os.Args)-1])
}

// supervisedMain is a process 1 whose program crashes.
func supervisedMain() {
	args := append([]string{"usagelake-crashed"}, os.Args[1:]...)
	os.Exit(supervise(args, os.Stderr))
}

func crash(how string) {
	wait := func() { time.Sleep(time.Minute) }
	switch how {
	case "panic":
		panic("on purpose")
	case "panic in a goroutine":
		go func() { panic("on purpose") }()
		wait()
	case "nil in a goroutine":
		go func() {
			var p *int
			*p = 1
		}()
		wait()
	case "two write a map":
		m := map[int]int{}
		for range 8 {
			go func() {
				for i := 0; ; i++ {
					m[i%3] = i
				}
			}()
		}
		wait()
	case "deadlock":
		select {}
	case "endless recursion":
		var f func(int) int
		f = func(n int) int { return f(n+1) + n }
		f(0)
	case "out of memory":
		var most unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_AS, &most); err != nil {
			os.Exit(99)
		}
		var kept [][]byte
		most.Cur = 1 << 30
		if err := unix.Setrlimit(unix.RLIMIT_AS, &most); err != nil {
			os.Exit(99)
		}
		for len(kept) < 1<<20 {
			kept = append(kept, bytes.Repeat([]byte{1}, 64<<20))
		}
	case "core":
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 {
			os.Exit(98)
		}
		if on, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || on != 0 {
			os.Exit(97)
		}
		os.Exit(0)
	case "term":
		wait()
	default:
		n, err := strconv.Atoi(how)
		if err != nil {
			os.Exit(96)
		}
		if n < 64 {
			_ = syscall.Kill(os.Getpid(), syscall.Signal(n))
			wait()
		}
		os.Exit(n - 64)
	}
}

func crashing(t *testing.T, as, how string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, how)
	c.Args[0] = as
	c.Dir = t.TempDir()
	return c
}

var crashes = []string{"panic", "panic in a goroutine", "nil in a goroutine", "two write a map", "endless recursion",
	"out of memory",
	strconv.Itoa(int(syscall.SIGABRT)), strconv.Itoa(int(syscall.SIGSEGV)), strconv.Itoa(int(syscall.SIGBUS)),
	strconv.Itoa(int(syscall.SIGFPE)), strconv.Itoa(int(syscall.SIGQUIT))}

// A process that really crashes, in each way, ends by SIGABRT, which no supervisor takes for bad usage.
func TestACrashIsNoBadUsage(t *testing.T) {
	for _, how := range crashes {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := crashing(t, "usagelake-crashed", how)
			out, err := c.CombinedOutput()
			var ended *exec.ExitError
			if !errors.As(err, &ended) {
				t.Fatalf("it ended with %v: %s", err, out)
			}
			status := ended.Sys().(syscall.WaitStatus)
			if !status.Signaled() || status.Signal() != syscall.SIGABRT || status.CoreDump() {
				t.Errorf("it ended with %v, core %v: %.2000s", err, status.CoreDump(), out)
			}
			if files, err := os.ReadDir(c.Dir); err != nil || len(files) > 0 {
				t.Errorf("it left %v, %v", files, err)
			}
		})
	}
	if out, err := crashing(t, "usagelake-crashed", "core").CombinedOutput(); err != nil {
		t.Errorf("a core might be dumped: %v: %s", err, out)
	}
}

// As process 1 of a container, too: the program's own end is handed on, and its signals are handed to it.
func TestProcessOneHandsOnHowTheProgramEnds(t *testing.T) {
	ends := map[string]int{"64": 0, "66": 2, "68": 4, strconv.Itoa(int(syscall.SIGKILL)): 137,
		strconv.Itoa(int(syscall.SIGTERM)): 143}
	for _, how := range crashes {
		ends[how] = exitCrash
	}
	for how, want := range ends {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			out, err := crashing(t, "usagelake-supervised", how).CombinedOutput()
			var ended *exec.ExitError
			if got := 0; err != nil && !errors.As(err, &ended) {
				t.Fatalf("%v: %s", err, out)
			} else if ended != nil {
				if got = ended.ExitCode(); got != want {
					t.Errorf("it ended with %v, want %d: %.2000s", err, want, out)
				}
			} else if want != 0 {
				t.Errorf("it ended with 0, want %d", want)
			}
		})
	}
	t.Run("a signal", func(t *testing.T) {
		t.Parallel()
		c := crashing(t, "usagelake-supervised", "term")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		again := time.NewTicker(50 * time.Millisecond) // until it listens
		defer again.Stop()
		for {
			select {
			case err := <-ended:
				if c.ProcessState.ExitCode() != 128+int(syscall.SIGTERM) && !strings.Contains(err.Error(), "terminated") {
					t.Errorf("it ended with %v", err)
				}
				return
			case <-again.C:
				_ = c.Process.Signal(syscall.SIGTERM)
			}
		}
	})
	t.Run("in a PID namespace", func(t *testing.T) {
		t.Parallel()
		for how, want := range map[string]int{"panic": exitCrash, strconv.Itoa(int(syscall.SIGSEGV)): exitCrash, "66": 2} {
			c := crashing(t, "usagelake-crashed", how)
			if !inNamespace(c) {
				t.Skip("there are no PID namespaces here")
			}
			out, err := c.CombinedOutput()
			var ended *exec.ExitError
			if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC) ||
				errors.Is(err, syscall.EINVAL) {
				t.Skipf("no PID namespace can be made here: %v", err)
			}
			if !errors.As(err, &ended) || ended.ExitCode() != want {
				t.Errorf("%s: it ended with %v, want %d: %.2000s", how, err, want, out)
			}
		}
	})
}
