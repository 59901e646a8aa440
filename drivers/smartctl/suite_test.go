package smartctl

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai"
	"github.com/dodai-agent/dodai/drivers/driverstest"
)

// tool is a directory with a program in smartctl's place, which behaves as the file
// "mode" says.
type tool struct {
	t   *testing.T
	dir string
}

const toolScript = `#!/bin/sh
cd %q
case "$*" in *--scan*) file=scan.json;; *) file=disk.json;; esac
case "$(cat mode)" in
normal) cat $file; exit 4;;
silent) sleep 60;;
garbage) printf '\001\377 }{ 0x'; exit 3;;
partial) head -c 100 $file; sleep 60;;
late) sleep "$(cat delay)"; cat $file;;
disconnect) head -c 100 $file; kill -9 $$;;
esac
`

func newTool(t *testing.T) driverstest.Peer {
	p := &tool{t, t.TempDir()}
	writeFile(t, p.dir+"/smartctl", fmt.Sprintf(toolScript, p.dir), 0o755)
	scan := strings.Replace(oneDevice, `{"json`, strings.Repeat(" ", 60)+`{"json`, 1)
	p.put("scan.json", scan)
	p.Flip(0)
	p.Behave(driverstest.Normal, 0)
	return p
}

// put replaces a file in one step: the program may be reading it.
func (p *tool) put(name, text string) {
	writeFile(p.t, p.dir+"/new", text, 0o644)
	if err := os.Rename(p.dir+"/new", p.dir+"/"+name); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tool) Options() map[string]string {
	return map[string]string{"smartctl": p.dir + "/smartctl"}
}

func (p *tool) Behave(b driverstest.Behaviour, delay time.Duration) {
	p.put("delay", fmt.Sprintf("%.3f", delay.Seconds()))
	p.put("mode", b.String())
}

func (p *tool) Flip(state int) {
	p.put("disk.json", string(changed(p.t, "ata.json", fmt.Sprintf(`{"smart_status":{"passed":%v}}`, state == 0))))
}

func TestContract(t *testing.T) {
	driverstest.Run(t, driverstest.Suite{
		Factory: Factory,
		NewPeer: newTool,
		Trouble: func(r dodai.Reading) bool {
			return len(r.Disks) != 1 || r.Disks[0].Verdict == dodai.VerdictCritical
		},
		Deadline: time.Second, // two programs are started in each poll
	})
}
