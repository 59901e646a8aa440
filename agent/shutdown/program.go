package shutdown

import (
	"context"
	"slices"
	"strings"
)

// Program is the action that runs a program as it is, without a shell.
type Program struct {
	Args []string
	Back []string // takes it back; empty: nothing does
	User string   // whose rights it has; empty: the daemon's
	Once bool     // it must not be run again when nobody knows how far it came
}

// Kind implements Action.
func (Program) Kind() string { return "command" }

// String implements Action.
func (p Program) String() string {
	text := Quoted(p.Args)
	if p.User != "" {
		text += " as " + p.User
	}
	return text
}

// Run implements Action.
func (p Program) Run(ctx context.Context, t Task) Result { return t.Exec(ctx, p.User, p.Args...) }

// Inverse implements Action.
func (p Program) Inverse() Action {
	if len(p.Back) == 0 {
		return nil
	}
	return Program{Args: p.Back, User: p.User, Once: p.Once}
}

// Repeatable implements Action.
func (p Program) Repeatable() bool { return !p.Once }

// Check implements Action.
func (p Program) Check(_ context.Context, t Task) []Finding {
	if f := CheckProgram(t, p.Args[0], p.User); f != nil {
		return []Finding{*f}
	}
	return nil
}

// CheckProgram finds out whether the program can be started by user, empty for the
// daemon's own, with the environment of t: that it is found, that the user may reach and
// execute it, and that the kernel and its interpreter can make something of it. nil: it
// can. Nothing is started.
//
// The checks it reports: user_unknown, user_not_permitted, program_missing,
// program_not_executable, interpreter_missing, interpreter_not_executable,
// program_format.
func CheckProgram(t Task, program, user string) *Finding {
	s := starter{env: t.Env, who: "the daemon"}
	f := s.become(user)
	if f == nil {
		f = s.program(program)
	}
	if f == nil {
		return nil
	}
	return &Finding{Step: t.Step, Check: f.check, Text: f.text, Fix: f.fix}
}

// Quoted writes a command as one could type it.
func Quoted(args []string) string {
	out := slices.Clone(args)
	for i, a := range out {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$;&|<>(){}*?`#~!") {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}
