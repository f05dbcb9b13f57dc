//go:build unix

package alert

import (
	"os/exec"
	"syscall"
)

// ownGroup makes a command and what it starts a group that is killed together.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
