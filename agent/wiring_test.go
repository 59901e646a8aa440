package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dodai-agent/dodai"
)

const series = `
ups:
  - {name: u1, driver: fake, fed_by: room}
  - {name: room, driver: fake}
wiring:
  - {psu: "1", ups: u1, feed: A}
  - {psu: "1", feed: B}
`

// What hangs on what stands in the snapshot from the start on, and follows a reload.
func TestWiringInTheSnapshot(t *testing.T) {
	st := newSite(t).step(series, nil)
	links := []dodai.Link{{UPS: "u1", FedBy: "room"}}
	paths := []dodai.Path{{PSU: "1", UPS: "u1", Feed: "A"}, {PSU: "1", Feed: "B"}}
	if diff := cmp.Diff(links, st.loop.snap.Links) + cmp.Diff(paths, st.loop.snap.Paths); diff != "" {
		t.Errorf("at the start, -want +got:\n%s", diff)
	}
	st.read("u1", ups("OL", 100, 3600))
	if diff := cmp.Diff(links, st.loop.snap.Links); diff != "" {
		t.Errorf("after a reading, -want +got:\n%s", diff)
	}
	if err := st.configure(st.parse("ups: [{name: u1, driver: fake}, {name: floor, driver: fake, fed_by: u1}]")); err != nil {
		t.Fatal(err)
	}
	links = []dodai.Link{{UPS: "floor", FedBy: "u1"}}
	if diff := cmp.Diff(links, st.loop.snap.Links); diff != "" || len(st.loop.snap.Paths) != 0 {
		t.Errorf("after another configuration, paths %v, links -want +got:\n%s", st.loop.snap.Paths, diff)
	}
}
