package ipmi_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers"
	"github.com/dodai-agent/dodai/drivers/ipmi"
	"github.com/dodai-agent/dodai/e2e/peer"
)

func options(address string) map[string]string {
	return map[string]string{"address": address, "user": peer.IPMIViewer, "password": peer.IPMIViewerSecret}
}

func openAt(t testing.TB, opts map[string]string) drivers.Driver {
	t.Helper()
	d, err := ipmi.Factory.Open("bmc1", opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func poll(t testing.TB, d drivers.Driver, deadline time.Duration) (dodai.Reading, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	return d.Poll(ctx)
}

func mustPoll(t testing.TB, d drivers.Driver) dodai.Reading {
	t.Helper()
	r, err := poll(t, d, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestQuick(t *testing.T) {
	sim := peer.StartIPMISim(t)
	d := openAt(t, options(sim.Addr()))
	r := mustPoll(t, d)
	b, _ := json.MarshalIndent(r, "", " ")
	t.Logf("%s", b)
}
