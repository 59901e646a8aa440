package dummy

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/dodai-agent/dodai/drivers"
)

func TestVocabulary(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"a kind":             {`{"kind":"raid"}`, `kind "raid": want one of ups, pdu, ats, arrays, disks, psus`},
		"a supply's state":   {`{"kind":"psus","psus":[{"id":"1","state":"ok"},{"id":"2","state":"dead"}]}`, `psus[1].state "dead": want one of ok, warning, failed, predictive, input_lost, absent, unknown`},
		"no supply's state":  {`{"kind":"psus","psus":[{"id":"1"}]}`, `psus[0].state "": want one of ok, `},
		"a supply's input":   {`{"kind":"psus","psus":[{"id":"1","state":"ok","input":"gone"}]}`, `psus[0].input "gone": want one of ok, lost, out_of_range, unknown`},
		"redundancy":         {`{"kind":"psus","redundancy":[{"domain":"system","state":"yes"}]}`, `redundancy[0].state "yes": want one of full, degraded, lost, none, insufficient, unknown`},
		"an array's state":   {`{"kind":"arrays","arrays":[{"id":"md0","state":"Degraded"}]}`, `arrays[0].state "Degraded": want one of optimal, degraded, rebuilding, failed, inactive, unknown`},
		"an activity":        {`{"kind":"arrays","arrays":[{"id":"md0","state":"optimal","activity":"scrub"}]}`, `arrays[0].activity "scrub": want one of none, check, `},
		"a controller":       {`{"kind":"arrays","controllers":[{"id":"0","health":"good"}]}`, `controllers[0].health "good": want one of ok, attention, failed, unknown`},
		"a cache":            {`{"kind":"arrays","controllers":[{"id":"0","health":"ok","cache_protection":"bbu"}]}`, `controllers[0].cache_protection "bbu": want one of optimal, charging, `},
		"a drive":            {`{"kind":"arrays","drives":[{"id":"sda","state":"up"}]}`, `drives[0].state "up": want one of online, rebuilding, `},
		"a disk's verdict":   {`{"kind":"disks","disks":[{"device":"/dev/sda","verdict":"fail"}]}`, `disks[0].verdict "fail": want one of ok, notice, warning, critical, unreadable`},
		"all that may stand": {`{"kind":"arrays","arrays":[{"id":"md0","state":"rebuilding","activity":"recover"}],"controllers":[{"id":"0","health":"ok"}],"drives":[{"id":"sda","state":"journal"}]}`, ""},
		"supplies":           {`{"kind":"psus","psus":[{"id":"1","state":"absent"}],"redundancy":[{"domain":"system","state":"none"}]}`, ""},
		"disks":              {`{"kind":"disks","disks":[{"device":"/dev/sda","verdict":"notice"}]}`, ""},
	} {
		_, err := parse(strings.NewReader(tc.in))
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v, want it taken", name, err)
		case tc.want != "" && (!errors.Is(err, drivers.ErrProtocol) || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want an unexpected reply: %s", name, err, tc.want)
		}
	}
}

// TestDocumentedReadings reads the examples of the driver's page, and finds every word
// the driver takes on it.
func TestDocumentedReadings(t *testing.T) {
	page, err := os.ReadFile("../../docs/drivers/dummy.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(page, -1)
	kinds := map[string]bool{}
	for _, m := range examples {
		r, err := parse(bytes.NewReader(m[1]))
		if err != nil {
			t.Errorf("%v in\n%s", err, m[1])
		}
		kinds[string(r.Kind)] = true
	}
	for _, kind := range []string{"ups", "psus", "arrays", "disks"} {
		if !kinds[kind] {
			t.Errorf("no example of %s", kind)
		}
	}
	for _, in := range []string{
		`{"kind":"x"}`, `{"psus":[{"state":"x"}]}`, `{"psus":[{"state":"ok","input":"x"}]}`, `{"redundancy":[{"state":"x"}]}`,
		`{"arrays":[{"state":"x"}]}`, `{"arrays":[{"state":"failed","activity":"x"}]}`, `{"controllers":[{"health":"x"}]}`,
		`{"controllers":[{"health":"ok","cache_protection":"x"}]}`, `{"drives":[{"state":"x"}]}`, `{"disks":[{"verdict":"x"}]}`,
	} {
		_, err := parse(strings.NewReader(in))
		_, list, _ := strings.Cut(err.Error(), "one of ")
		if words := "`" + strings.ReplaceAll(list, ", ", "` `") + "`"; !bytes.Contains(page, []byte(words)) {
			t.Errorf("%s: the page does not list %s", in, words)
		}
	}
}
