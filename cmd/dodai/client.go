package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// socketFlag adds --socket to a command that talks to the agent.
func socketFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("socket", defaultSocket, "Unix socket of the agent")
}

// client talks to the local agent.
type client struct {
	socket string
	http   http.Client
}

func newClient(socket string) *client {
	var dialer net.Dialer
	c := &client{socket: socket}
	c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", socket)
	}}
	return c
}

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
		return fmt.Errorf("%s", strings.TrimSpace(string(text)))
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

func (c *client) explain(err error) error {
	if os.IsPermission(err) || strings.Contains(err.Error(), "permission denied") {
		return fmt.Errorf("no permission to ask the agent at %s: run as root or as a member of its group", c.socket)
	}
	return fmt.Errorf("no agent answers at %s: is it running (systemctl status dodai)? %w", c.socket, err)
}
