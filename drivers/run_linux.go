package drivers

import (
	"os/exec"
	"syscall"
)

// setProcessGroup gives the tool a process group of its own and kills the whole group
// when the context ends: a shell wrapper would otherwise leave its child behind.
func setProcessGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
