package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usagelake/usagelake/load/durable"
)

// lockEnv makes the test binary a process that locks the lake named by it, says so on stdout, and keeps it until its
// stdin ends.
const lockEnv = "USAGELAKE_TEST_LOCK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(lockEnv); dir != "" {
		os.Exit(holdLock(dir))
	}
	os.Exit(m.Run())
}

func holdLock(dir string) int {
	l, err := Open(dir, Options{})
	if err == nil {
		var unlock func() error
		if unlock, err = l.LockRun(context.Background(), "export", "run-1", false); err == nil {
			fmt.Println("locked")
			_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
			err = unlock()
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// otherProcess starts a process that holds the lake.
func otherProcess(t *testing.T, l *Lake) (cmd *exec.Cmd, release func()) {
	t.Helper()
	cmd = exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), lockEnv+"="+l.Dir())
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "locked\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return cmd, func() { _ = stdin.Close(); _ = cmd.Wait() }
}

func TestOneProcessHoldsTheLakeAndOthersLearnWho(t *testing.T) {
	l := newTestLake(t, Options{})
	cmd, release := otherProcess(t, l)

	_, err := l.Lock(t.Context(), "rebuild", false)
	var held *HeldError
	if !errors.As(err, &held) {
		t.Fatalf("Lock = %v, want a HeldError", err)
	}
	host, _ := os.Hostname()
	if held.PID != cmd.Process.Pid || held.Doing != "export" || held.RunID != "run-1" || held.Host != host ||
		time.Since(held.Since) > time.Minute {
		t.Errorf("HeldError is %+v", held)
	}
	if s := err.Error(); !strings.Contains(s, fmt.Sprint("process ", held.PID)) || !strings.Contains(s, "export") ||
		!strings.Contains(s, "hint:") {
		t.Errorf("the message doesn't help: %s", s)
	}
	if h := l.Holder(); h == nil || h.PID != held.PID {
		t.Errorf("Holder() = %+v", h)
	}

	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*lockPoll, errors.New("waited long enough"))
	defer cancel()
	if _, err := l.Lock(ctx, "rebuild", true); !errors.As(err, &held) ||
		!strings.Contains(err.Error(), "waited long enough") {
		t.Errorf("waiting in vain gives %v", err)
	}

	done := make(chan error)
	go func() {
		unlock, err := l.Lock(t.Context(), "rebuild", true)
		if err == nil {
			err = unlock()
		}
		done <- err
	}()
	release()
	must(t, <-done)
	if h := l.Holder(); h != nil {
		t.Errorf("Holder() = %+v of a free lake", h)
	}
}

func TestLockOfADeadProcessIsNoObstacle(t *testing.T) {
	l := newTestLake(t, Options{})
	cmd, _ := otherProcess(t, l)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	if h := l.Holder(); h != nil {
		t.Errorf("Holder() = %+v, which is dead", h)
	}
	unlock, err := l.Lock(t.Context(), "export", false)
	must(t, err)
	must(t, unlock())
}

func TestLockExcludesWithinAProcessToo(t *testing.T) {
	l := newTestLake(t, Options{})
	unlock, err := l.Lock(t.Context(), "export", false)
	must(t, err)
	again, err := Open(l.Dir(), Options{})
	must(t, err)
	var held *HeldError
	if _, err := again.Lock(t.Context(), "export", false); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("Lock = %v", err)
	}
	must(t, unlock())
	unlock, err = again.Lock(t.Context(), "export", false)
	must(t, err)
	must(t, unlock())
}

func TestLockDropsHalfDoneFiles(t *testing.T) {
	l := newTestLake(t, Options{})
	must(t, os.MkdirAll(l.Path(durable.TempDir, "clone", "deep"), durable.DirMode))
	must(t, os.WriteFile(l.Path(durable.TempDir, "raw.123"), []byte("half"), durable.FileMode))
	unlock, err := l.Lock(t.Context(), "export", false)
	must(t, err)
	defer unlock()
	if left, _ := filepath.Glob(l.Path(durable.TempDir, "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestHolderNeedsNoWriteAndNoFile(t *testing.T) {
	l := newTestLake(t, Options{})
	if h := l.Holder(); h != nil {
		t.Errorf("Holder() = %+v before any lock", h)
	}
	if _, err := os.Stat(l.Path(lockFile)); err == nil {
		t.Error("Holder made the lock file")
	}
}
