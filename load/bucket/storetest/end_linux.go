package storetest

import (
	"os/exec"
	"syscall"
)

// endWithParent lets a process be killed when the thread that starts it ends, as it does with its process.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
