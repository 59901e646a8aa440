package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/agent"
	"github.com/dodai-agent/dodai/agent/journal"
	"github.com/dodai-agent/dodai/e2e/vm/internal/ledger"
)

// stateKeys are the states whose loss would be felt.
var stateKeys = []string{"policy", "shutdown", "power_off", "power_off_learned", "early", "maintenance"}

// pause lies between two looks at the journal.
const pause = 150 * time.Millisecond

// tellFound tells all that the journal in dir holds, and leaves it as it is: a copy is opened
// as the agent would.
func tellFound(ctx context.Context, out *port, dir string) error {
	there, err := filepath.Glob(filepath.Join(dir, "journal.db*"))
	if err != nil || len(there) == 0 {
		return err
	}
	copied, err := os.MkdirTemp("/run", "cut-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(copied)
	for _, path := range there {
		if filepath.Ext(path) == ".db-shm" { // of another boot: SQLite makes a new one
			continue
		}
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(copied, filepath.Base(path)), data, 0o600)
		}
		if err != nil {
			return err
		}
	}
	j, err := journal.Open(ctx, copied, journal.Options{})
	if err != nil {
		return err
	}
	defer j.Close()
	if r := j.Recovered(); r != "" {
		return errors.New(r)
	}
	if moved, _ := filepath.Glob(filepath.Join(dir, "*.corrupt-*")); len(moved) > 0 {
		return fmt.Errorf("the agent has replaced a journal: %v", moved)
	}
	if err := new(cursor).tell(ctx, out, j); err != nil {
		return err
	}
	return integrity(ctx, filepath.Join(copied, "journal.db"))
}

func integrity(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return errors.New("integrity_check: " + verdict)
	}
	return nil
}

// cursor is how far a journal has been told.
type cursor struct {
	event     int64
	states    map[string]time.Time
	sample    time.Time
	durations int64 // ns since 1970 of the newest
}

// tell tells what has come to the journal since the last time.
func (c *cursor) tell(ctx context.Context, out *port, j *journal.Journal) error {
	records, err := j.Events(ctx, journal.Query{AfterID: c.event})
	if err != nil {
		return err
	}
	var entries []ledger.Entry
	for _, r := range records {
		entries = append(entries, ledger.Entry{Kind: ledger.Event, ID: r.ID, Key: string(r.Name), At: r.Wall.UnixNano(), Sum: sumOf(r.Event), Boot: r.BootID})
		c.event = r.ID
	}
	states, err := c.newStates(ctx, j)
	if err != nil {
		return err
	}
	samples, err := j.Samples(ctx, journal.SampleQuery{Since: c.sample})
	if err != nil {
		return err
	}
	for _, s := range samples {
		entries = append(entries, ledger.Entry{Kind: ledger.Sample, Key: s.Device + " " + s.Name, At: s.At.UnixNano(), Sum: sum(s.Value)})
		c.sample = s.At.Add(1)
	}
	durations, err := j.Durations(ctx, "")
	if err != nil {
		return err
	}
	newest := c.durations
	for _, d := range durations {
		if at := d.At.UnixNano(); at > c.durations {
			entries = append(entries, ledger.Entry{Kind: ledger.Duration, Key: d.Step, At: at, Sum: sum(d)})
			newest = max(newest, at)
		}
	}
	c.durations = newest
	if entries = append(entries, states...); len(entries) > 0 {
		out.tell(entries...)
	}
	return nil
}

func (c *cursor) newStates(ctx context.Context, j *journal.Journal) ([]ledger.Entry, error) {
	if c.states == nil {
		c.states = map[string]time.Time{}
	}
	var entries []ledger.Entry
	for _, key := range stateKeys {
		value, saved, err := j.LoadState(ctx, key)
		switch {
		case errors.Is(err, journal.ErrNotFound):
			continue
		case err != nil:
			return nil, err
		case saved.Equal(c.states[key]):
			continue
		}
		c.states[key] = saved
		entries = append(entries, ledger.Entry{Kind: ledger.State, Key: key, At: saved.UnixNano(), Sum: sum(value), Text: string(value)})
	}
	return entries, nil
}

// sumOf is the same for an event read from the journal and for one that the agent answered.
func sumOf(e dodai.Event) string {
	e.Wall = e.Wall.UTC()
	return sum(e)
}

// follow tells what the agent shows, in its answers and in its journal, until the power goes.
func follow(ctx context.Context, out *port, dir, socket string) error {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	var s agent.Status
	for get(&client, "/v1/status", &s) != nil {
		time.Sleep(pause)
	}
	out.tell(ledger.Entry{Kind: ledger.Up})
	// Not before: a reader that comes first would make files that the agent's user cannot write.
	j, err := journal.OpenReader(ctx, dir)
	if err != nil {
		return err
	}
	defer j.Close()
	var c cursor
	answered := map[string]bool{}
	for n := 0; ; n++ {
		if err := c.tell(ctx, out, j); err != nil {
			fmt.Fprintln(os.Stderr, "cutrecorder:", err)
		}
		switch n % 4 {
		case 1:
			tellAnswered(&client, out, answered)
		case 3:
			tellStatus(&client, out)
		}
		time.Sleep(pause)
	}
}

func get(client *http.Client, path string, v any) error {
	resp, err := client.Get("http://dodai" + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// tellAnswered tells the events that `dodai events` would print.
func tellAnswered(client *http.Client, out *port, answered map[string]bool) {
	var events []dodai.Event
	if err := get(client, "/v1/events?limit=30", &events); err != nil {
		return
	}
	for _, e := range events {
		if s := sumOf(e); !answered[s] {
			answered[s] = true
			out.tell(ledger.Entry{Kind: ledger.Shown, Key: string(e.Name), At: e.Wall.UnixNano(), Sum: s})
		}
	}
}

// tellStatus tells what the agent makes of its UPS, once it has heard it.
func tellStatus(client *http.Client, out *port) {
	var s agent.Status
	if get(client, "/v1/status", &s) != nil || len(s.UPSes) == 0 || s.UPSes[0].Line == "" {
		return
	}
	u, err := json.Marshal(s.UPSes[0])
	if err == nil {
		out.tell(ledger.Entry{Kind: ledger.Status, Key: s.State, At: s.Time.UnixNano(), Text: string(u)})
	}
}
