package action

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dodai-agent/dodai/agent/config"
	"github.com/dodai-agent/dodai/agent/shutdown"
)

// engine stands in for docker and podman, as far as they differ. $S/c has a file for each
// container, named for it, with its id and state; $S/is one for each peculiarity.
const engine = `flavour=${0##*/}
echo "$*" >>$S/log
if [ -e $S/is/denied ]; then echo "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"; exit 1; fi
verb=$1; shift
set_to() { echo "$id $1" >"$S/new"; mv "$S/new" "$f"; }
case $verb in
ps)
	all= names= status=
	while [ $# -gt 0 ]; do
		case $1 in
		--all) all=yes ;;
		--format) [ "$2" = '{{.ID}} {{.Names}}' ] || exit 64; shift ;;
		--filter) case $2 in name=*) names="$names ${2#name=}" ;; status=*) status=${2#status=} ;; esac; shift ;;
		*) exit 64 ;;
		esac
		shift
	done
	for f in $S/c/*; do
		[ -e "$f" ] || break
		name=${f##*/}; read id state <$f
		if [ "$status" ]; then [ $state = $status ] || continue
		elif [ ! "$all" ]; then
			case $flavour.$state in *.exited | podman.paused) continue ;; esac
		fi
		if [ "$names" ]; then
			hit=; for n in $names; do case $name in *$n*) hit=yes ;; esac; done
			[ $hit ] || continue
		fi
		[ $flavour = docker ] && [ -e $S/is/linked.$name ] && name="other/alias,$name"
		echo "$id $name"
	done ;;
stop | start | unpause)
	[ $# -gt 0 ] || { echo "\"$flavour $verb\" requires at least 1 argument."; exit 1; }
	[ "$1" != -t ] || shift 2
	rc=0
	for want; do
		found=
		for f in $S/c/*; do
			name=${f##*/}; read id state <$f
			[ $id = $want ] || [ $name = $want ] || continue
			found=yes
			case $verb.$flavour.$state in
			unpause.*) set_to running ;;
			stop.podman.paused) echo "Error: can only stop created or running containers. $id is in state paused: container state improper"; rc=125 ;;
			stop.*) [ -e $S/is/slow.$name ] && sleep 30; set_to exited; [ -e $S/is/kept.$name ] && set_to running
				[ -e $S/is/removed.$name ] && { rm $f; found=; continue; }
				[ -e $S/is/born.$name ] && { rm $S/is/born.$name; echo "999999999999 running" >$S/c/newborn; } ;;
			start.*) set_to running ;;
			esac
			echo $want
		done
		[ $found ] || { echo "Error response from daemon: No such container: $want"; rc=1; }
	done
	exit $rc ;;
esac
`

func containers(t *testing.T, have map[string]string, is ...string) (task shutdown.Task, state string) {
	t.Helper()
	state = t.TempDir()
	for name, what := range have {
		write(t, filepath.Join(state, "c", name), what+"\n")
	}
	for _, what := range is {
		write(t, filepath.Join(state, "is", what), "")
	}
	return taskWith(program(t, engine, "docker", "podman"), time.Minute, "S="+state), state
}

func TestContainers(t *testing.T) {
	have := map[string]string{"web": "aaaaaaaaaaaa running", "web2": "bbbbbbbbbbbb running", "db": "cccccccccccc paused", "old": "dddddddddddd exited"}
	const up, off = "running", "exited"
	for _, tt := range []struct {
		name        string
		do          config.Containers
		is          []string
		timeout     time.Duration
		want        map[string]string
		fails, says string
		ran         string // in the log
	}{
		{name: "all", want: map[string]string{"web": off, "web2": off, "db": off}, says: "web"},
		{name: "named", do: config.Containers{Names: []string{"web", "old", "gone"}}, want: map[string]string{"web": off, "web2": up, "db": "paused"}, says: "web"},
		{name: "all but some", do: config.Containers{Except: []string{"web"}}, want: map[string]string{"web": up, "web2": off, "db": off}},
		{name: "linked", do: config.Containers{Names: []string{"web"}}, is: []string{"linked.web"}, want: map[string]string{"web": off, "web2": up}},
		{name: "grace", do: config.Containers{Grace: config.Duration(1500 * time.Millisecond)}, want: map[string]string{"web": off}, ran: "stop -t 2 "},
		{name: "kept alive", is: []string{"kept.web"}, want: map[string]string{"web": up, "web2": off}, fails: "came back after it was stopped: web"},
		{name: "started meanwhile", is: []string{"born.web"}, want: map[string]string{"web": off, "newborn": off}},
		{name: "gone meanwhile", is: []string{"removed.web"}, want: map[string]string{"web2": off, "db": off}, says: "web2"},
		{name: "slow", is: []string{"slow.web"}, timeout: time.Second, want: map[string]string{"web": up}, fails: "timed out"},
		{name: "denied", is: []string{"denied"}, want: map[string]string{"web": up}, fails: "permission denied"},
	} {
		for _, flavour := range []string{"docker", "podman"} {
			t.Run(tt.name+" by "+flavour, func(t *testing.T) {
				t.Parallel()
				task, state := containers(t, have, tt.is...)
				if tt.timeout > 0 {
					task.Timeout = tt.timeout
				}
				do := tt.do
				do.Engine = flavour
				start := time.Now()
				res := Containers{Containers: do}.Run(t.Context(), task)
				t.Logf("%v: %s", res.Err, res.Output)
				expectEnd(t, res, tt.fails)
				if took := time.Since(start); took > 6*time.Second || !strings.Contains(res.Output, tt.says) {
					t.Errorf("output %q after %v, want %q in it, soon", res.Output, took, tt.says)
				}
				if log := read(t, state+"/log"); !strings.Contains(log, tt.ran) {
					t.Errorf("%q was not run:\n%s", tt.ran, log)
				}
				for name, want := range tt.want {
					if got := read(t, filepath.Join(state, "c", name)); !strings.HasSuffix(got, " "+want+"\n") {
						t.Errorf("%s is %q, want %s", name, got, want)
					}
				}
			})
		}
	}
}

func TestContainersAreStartedAgain(t *testing.T) {
	task, state := containers(t, map[string]string{"web": "aaaaaaaaaaaa running", "db": "cccccccccccc exited"})
	do := Containers{Containers: config.Containers{Engine: "podman", Names: []string{"web"}}}
	expectEnd(t, do.Run(t.Context(), task), "")
	expectEnd(t, do.Inverse().Run(t.Context(), task), "")
	if got := read(t, state+"/c/web") + read(t, state+"/c/db"); got != "aaaaaaaaaaaa running\ncccccccccccc exited\n" {
		t.Errorf("containers are %q", got)
	}
	gone := Containers{Containers: config.Containers{Engine: "podman", Names: []string{"gone"}}}
	expectEnd(t, gone.Inverse().Run(t.Context(), task), "not started: gone")
}

func TestContainersCheck(t *testing.T) {
	have := map[string]string{"web": "aaaaaaaaaaaa running", "db": "cccccccccccc exited"}
	for _, tt := range []struct {
		name        string
		do          config.Containers
		is          []string
		check, text string
	}{
		{name: "all", do: config.Containers{Engine: "docker"}},
		{name: "named", do: config.Containers{Engine: "podman", Names: []string{"web", "db"}}},
		{name: "a slip", do: config.Containers{Engine: "docker", Names: []string{"wbe"}}, check: "container_unknown", text: `there is no container wbe (did you mean "web"?)`},
		{name: "a part of a name", do: config.Containers{Engine: "docker", Names: []string{"we"}}, check: "container_unknown", text: "there is no container we"},
		{name: "denied", do: config.Containers{Engine: "docker"}, is: []string{"denied"}, check: "engine_denied", text: "permission denied while trying to connect"},
		{name: "not installed", do: config.Containers{Engine: "/opt/podman"}, check: "program_missing", text: "there is no /opt/podman"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			task, state := containers(t, have, tt.is...)
			expectFinding(t, Containers{Containers: tt.do}.Check(t.Context(), task), tt.check, tt.text)
			if log := read(t, state+"/log"); strings.Contains(log, "st") {
				t.Errorf("a check ran %s", log)
			}
		})
	}
}

// The real client says the same of an engine that does not run.
func TestContainersCheckByTheRealClient(t *testing.T) {
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("docker is not installed")
	}
	task := taskWith(t.TempDir(), 20*time.Second, "DOCKER_HOST=unix:///nonexistent/docker.sock")
	expectFinding(t, Containers{Containers: config.Containers{Engine: docker}}.Check(t.Context(), task), "engine_unreachable", "/nonexistent/docker.sock")
}
