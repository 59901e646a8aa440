package main

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// demoKeys are the documented keys of the demo's result.
type demoKeys struct {
	Outage struct {
		DetectedS *float64 `json:"detected_s"`
		DecidedS  *float64 `json:"decided_s"`
		MarginS   *float64 `json:"margin_s"`
		Steps     []struct {
			Name string `json:"name"`
		} `json:"steps"`
	} `json:"outage"`
	Drill struct {
		ID     string `json:"id"`
		Path   string `json:"path"`
		Level  string `json:"level"`
		Report struct {
			Verdict    string `json:"verdict"`
			Objectives []struct {
				Name string   `json:"name"`
				Want *float64 `json:"want"`
				Got  *float64 `json:"got"`
				Unit string   `json:"unit"`
				Pass *bool    `json:"pass"`
			} `json:"objectives"`
		} `json:"report"`
	} `json:"drill"`
}

// The demo plays an outage and a drill within 45 s, ends well, and leaves the drill's
// report behind and nothing else.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("plays an outage in real time, 25 s")
	}
	t.Parallel()
	temp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "dodai", "demo", "--json") // this test's own binary, see TestMain
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	begin := time.Now()
	err := cmd.Run()
	took := time.Since(begin)
	t.Logf("the demo took %v", took.Round(time.Millisecond))
	if err != nil || took > 45*time.Second {
		t.Fatalf("the demo took %v: %v\n%s", took, err, &errs)
	}
	if !strings.Contains(errs.String(), "the mains fail on both feeds") {
		t.Errorf("the demo does not tell what happens:\n%s", &errs)
	}
	r := lastObject(t, out.Bytes())
	checkDemo(t, r)
	if _, err := os.Stat(r.Drill.Path); err != nil {
		t.Errorf("the report's page: %v", err)
	}
	for _, name := range leftBehind(t, temp) {
		if !strings.Contains(name, "drill") {
			t.Errorf("the demo has left %s behind", name)
		}
	}
}

// lastObject decodes a stream of JSON values, of which the last one counts, and after
// which nothing comes.
func lastObject(t *testing.T, out []byte) demoKeys {
	t.Helper()
	start := bytes.Index(out, []byte("{\n"))
	if start > 0 && out[start-1] != '\n' {
		t.Fatalf("the object does not begin a line:\n%s", out)
	}
	dec := json.NewDecoder(bytes.NewReader(out[max(0, start):]))
	var r demoKeys
	if err := dec.Decode(&r); err != nil {
		t.Fatalf("the last thing on standard output is no object: %v\n%s", err, out)
	}
	if rest, _ := io.ReadAll(dec.Buffered()); len(bytes.TrimSpace(rest)) > 0 {
		t.Errorf("something comes after the object: %s", rest)
	}
	return r
}

func checkDemo(t *testing.T, r demoKeys) {
	t.Helper()
	o, d := r.Outage, r.Drill
	if o.DetectedS == nil || o.DecidedS == nil || o.MarginS == nil || len(o.Steps) != 3 || o.Steps[2].Name != "power_off" {
		t.Fatalf("the outage is %+v, want detected_s, decided_s, margin_s and three steps, power_off last", o)
	}
	if *o.DetectedS <= 0 || *o.DetectedS > 2.6 || *o.DecidedS <= *o.DetectedS || *o.MarginS <= 0 {
		t.Errorf("detected after %g s, decided after %g s, margin %g s", *o.DetectedS, *o.DecidedS, *o.MarginS)
	}
	t.Logf("detected after %.2f s, decided after %.2f s, margin %.0f s", *o.DetectedS, *o.DecidedS, *o.MarginS)
	if d.ID == "" || d.Level != "tabletop" || d.Report.Verdict != "pass" || len(d.Report.Objectives) == 0 {
		t.Errorf("the drill is %+v", d)
	}
	for _, obj := range d.Report.Objectives {
		if obj.Name == "" || obj.Want == nil || obj.Got == nil || obj.Unit == "" || obj.Pass == nil || !*obj.Pass {
			t.Errorf("an objective is %+v", obj)
		}
	}
}

func leftBehind(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("left behind: %q", out)
	return out
}
