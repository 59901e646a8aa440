package shutdown

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// asUser gives cmd the rights of the user called name, with its groups and its home.
func asUser(cmd *exec.Cmd, name string) error {
	if name == "" {
		return nil
	}
	cred, u, err := credential(name)
	if err != nil {
		return err
	}
	if cred.Uid == uint32(os.Geteuid()) {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("run as user %s: only root may; the daemon runs as uid %d", name, os.Geteuid())
	}
	cmd.SysProcAttr.Credential = cred
	cmd.Env = append(withoutVars(cmd.Env, []string{"HOME", "USER", "LOGNAME"}), "HOME="+u.HomeDir, "USER="+name, "LOGNAME="+name)
	cmd.Dir = "/"
	return nil
}

func credential(name string) (*syscall.Credential, *user.User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, nil, fmt.Errorf("run as user %s: %w", name, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, nil, fmt.Errorf("groups of user %s: %w", name, err)
	}
	cred := &syscall.Credential{}
	if cred.Uid, err = id(u.Uid); err != nil {
		return nil, nil, err
	}
	if cred.Gid, err = id(u.Gid); err != nil {
		return nil, nil, err
	}
	for _, g := range ids {
		gid, err := id(g)
		if err != nil {
			return nil, nil, err
		}
		cred.Groups = append(cred.Groups, gid)
	}
	return cred, u, nil
}

func id(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("id %q of a user or group: %w", s, err)
	}
	return uint32(n), nil
}
