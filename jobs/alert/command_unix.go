//go:build unix

package alert

import (
	"os/exec"
	"syscall"
)

// ownGroup makes a command and what it starts a group that is killed together. A shell script that hangs in a curl
// would else leave the curl behind, and a Ctrl-C at the terminal would end the command, and not us alone.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
