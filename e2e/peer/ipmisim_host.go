package peer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ipmiHost is the host behind an IPMISim, as the program that ipmi_sim asks and tells:
// "host get power", "host set power 0", "host set shutdown 1". It is off once the time in
// the file off-at has come, which a request to shut down writes unless the host is deaf.
const ipmiHost = `#!/bin/sh
cd "$(dirname "$0")" || exit 1
shift
echo "$*" >>calls
now=$(date +%s%3N)
case "$*" in
"get power")
	at=$(cat off-at 2>/dev/null || echo 9999999999999)
	if [ "$now" -ge "$at" ]; then echo power:0; else echo power:1; fi ;;
"set power 0") echo 0 >off-at ;;
"set power 1") rm -f off-at ;;
"set shutdown "*) [ -e deaf ] || [ -e off-at ] || echo $((now + $(cat takes))) >off-at ;;
esac
`

func (s *IPMISim) installHost() {
	s.t.Helper()
	s.write("takes", "0")
	path := filepath.Join(s.dir, "chassis")
	if err := os.WriteFile(path, []byte(ipmiHost), 0o700); err != nil {
		s.t.Fatal(err)
	}
}

// HostTakes says how long the host takes to shut down once it is asked to; nothing until
// then. Negative: it ignores that.
func (s *IPMISim) HostTakes(d time.Duration) {
	s.t.Helper()
	deaf := filepath.Join(s.dir, "deaf")
	if d < 0 {
		s.write("deaf", "")
		return
	}
	os.Remove(deaf)
	s.write("takes", fmt.Sprint(d.Milliseconds()))
}

// HostCalls are the changes that the BMC was asked for, in order: "set power 0".
func (s *IPMISim) HostCalls() []string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "calls"))
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	var calls []string
	for call := range strings.Lines(string(text)) {
		if strings.HasPrefix(call, "set ") {
			calls = append(calls, strings.TrimSuffix(call, "\n"))
		}
	}
	return calls
}
