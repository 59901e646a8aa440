package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// socketFlag adds --socket to a command that talks to the agent.
func socketFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("socket", defaultSocket, "Unix socket of the agent")
}

// answerLimit is how long the agent may take to answer one request.
const answerLimit = 30 * time.Second

// client talks to the local agent.
type client struct {
	socket string
	http   http.Client
}

func newClient(socket string) *client {
	var dialer net.Dialer
	c := &client{socket: socket}
	c.http.Timeout = answerLimit
	c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", socket)
	}}
	return c
}

// refused is an answer other than 2xx, in the agent's own words.
type refused struct {
	status int // of HTTP
	text   string
}

func (r *refused) Error() string { return r.text }

// do sends one request and decodes the answer into out; out may be nil. An answer other
// than 2xx is an error that carries the agent's own words.
func (c *client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://dodai"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what could be read is shown
		return &refused{resp.StatusCode, strings.TrimSpace(string(text))}
	}
	if out == nil {
		return nil
	}
	if w, ok := out.(io.Writer); ok {
		_, err := io.Copy(w, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// explain says what went wrong in the operator's words.
func (c *client) explain(err error) error {
	what := err
	if e, ok := errors.AsType[*url.Error](err); ok { // which only says that it was a GET
		what = e.Err
	}
	errno, isErrno := errors.AsType[syscall.Errno](err)
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to ask the agent at %s: run as root or as a member of its group", c.socket)
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the agent at %s does not answer: is it stopped (systemctl status dodai)?", c.socket)
	case isErrno && len(c.socket) > 107:
		return fmt.Errorf("no agent answers at %s: a socket's name has at most 107 characters", c.socket)
	case isErrno:
		what = errno
	}
	return fmt.Errorf("no agent answers at %s: %w; is it running (systemctl status dodai), and with this --socket?", c.socket, what)
}

// ask sends one request, decodes the answer into answer and prints it, as JSON or by print.
// warning is the field of the answer that says what is not as it should be. What the agent
// finds wrong with the request is wrong usage of the command.
func ask(cmd *cobra.Command, socket string, asJSON bool, method, path string, req, answer any, warning *string, print func(io.Writer) error) error {
	err := newClient(socket).do(cmd.Context(), method, path, req, answer)
	if r, ok := errors.AsType[*refused](err); ok && r.status == http.StatusBadRequest {
		return usageError("%s: %w", cmd.CommandPath(), err)
	}
	if err != nil {
		return err
	}
	if *warning != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "dodai: "+*warning)
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), answer)
	}
	return print(cmd.OutOrStdout())
}
