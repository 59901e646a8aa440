package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dodai-agent/dodai/agent/helper"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// serviceUser is who the daemon runs as.
const serviceUser = "dodai"

type helperFlags struct{ config, keepDir, runDir, user string }

// helperCmd is what the service manager starts for each connection of the daemon.
func helperCmd() *cobra.Command {
	var f helperFlags
	cmd := &cobra.Command{
		Use:    "helper",
		Short:  "Do one thing for the daemon that needs root, as the configuration has it",
		Hidden: true,
		Long: `Started by systemd for each connection to dodai-helper.socket, which is its standard
input. It runs steps, hooks and commands of a configuration that root alone can write, reads
disks, and forces this machine down; nothing else, and for the daemon's user alone.`,
		Args: exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.server()
			if err != nil {
				return err
			}
			conn, err := net.FileConn(os.Stdin)
			if err != nil {
				return usageError("dodai helper: standard input is no socket: %w", err)
			}
			uc, ok := conn.(*net.UnixConn)
			if !ok {
				return usageError("dodai helper: standard input is no Unix socket")
			}
			os.Stdin.Close() // or it would stay open when the connection is closed
			return s.Serve(cmd.Context(), uc)
		},
	}
	cmd.Flags().StringVar(&f.config, "config", defaultConfig, "configuration file, which root alone can write")
	cmd.Flags().StringVar(&f.keepDir, "keep-dir", helper.KeepDir, "where copies of it are kept")
	cmd.Flags().StringVar(&f.runDir, "run-dir", defaultRunDir, "the daemon's own")
	cmd.Flags().StringVar(&f.user, "user", serviceUser, "who may ask besides root")
	return cmd
}

func (f helperFlags) server() (helper.Server, error) {
	u, err := user.Lookup(f.user)
	if err != nil {
		return helper.Server{}, fmt.Errorf("dodai helper: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.Atoi(u.Gid)
	guards, err3 := shutdown.OwnGuards()
	if err := errors.Join(err1, err2, err3); err != nil {
		return helper.Server{}, fmt.Errorf("dodai helper: user %s: %w", f.user, err)
	}
	return helper.Server{Config: f.config, KeepDir: f.keepDir, RunDir: f.runDir, User: uint32(uid), Group: gid, Guard: guards}, nil
}
