package main

import (
	"bytes"
	"strings"
	"testing"
)

// Each of these has to be refused: this command, taken seriously, ends the machine the
// test runs on.
func TestGuardRefuses(t *testing.T) {
	for _, args := range []string{"", "--at=", "--at=NaN", "--at=inf", "--at=-1000", "--at=1e9", "--at=1e300", "--at=-1000 --goal=halt", "--at=-1000 now"} {
		var out, errs bytes.Buffer
		got := run(append([]string{"guard"}, strings.Fields(args)...), &out, &errs)
		if got != exitUsage || !strings.HasPrefix(errs.String(), "dodai guard: ") {
			t.Errorf("dodai guard %s: exit %d and %q, want %d and what is wrong", args, got, errs.String(), exitUsage)
		}
	}
}

func TestGuardIsHidden(t *testing.T) {
	var out, errs bytes.Buffer
	run([]string{"--help"}, &out, &errs)
	if strings.Contains(out.String(), "guard") || !strings.Contains(out.String(), "agent") {
		t.Errorf("the help shows it to people:\n%s", out.String())
	}
}
