package action

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/dodai-agent/dodai/agent/shutdown"
)

// Check implements shutdown.Action: it logs in for real and asks the shell there for the
// program that the command begins with, and sudo, where that stands before it, whether it
// would run it without a password. Where the host runs a command of its own for the key,
// as far as that can be known, nothing is asked: it would run that.
func (s SSH) Check(ctx context.Context, t shutdown.Task) []shutdown.Finding {
	ctx, cancel := t.Context(ctx)
	defer cancel()
	c, err := s.connect(ctx)
	if err != nil {
		return findings(t, "ssh", err)
	}
	defer c.Close()
	if err := keyPermissions(s.KeyFile); err != nil || s.Forced != nil && *s.Forced {
		return findings(t, "ssh", err)
	}
	p := prober{step: s, run: remoteRun{client: c, polite: func() bool { return true }}}
	return findings(t, "ssh", p.probe(ctx))
}

// prober finds out what is there on the other host.
type prober struct {
	step SSH
	run  remoteRun
}

func (p prober) probe(ctx context.Context) error {
	if err := p.harmless(ctx); err != nil {
		return err
	}
	first := firstCommand(p.step.Command)
	for _, word := range first.words {
		if err := p.look(ctx, word); err != nil {
			return err
		}
	}
	if first.sudo == "" {
		return nil
	}
	return p.mayRun(ctx, first.sudo)
}

// harmless is nil where a question is just that.
func (p prober) harmless(ctx context.Context) error {
	if p.step.Forced != nil {
		return nil
	}
	switch forced, why := p.step.findForced(ctx); forced {
	case forcedNot:
		return nil
	case forcedYes:
		return p.unproven("the host runs a command of its own for this key, and would do so for any question", "if that is meant, say forced_command: true")
	default:
		return p.unproven("asking would run whatever command the host forces on this key, and whether it does is not known: "+why,
			"say forced_command: false where the account has a plain shell, true where it has not")
	}
}

// unproven is what the host does not let be found out.
func (p prober) unproven(why, fix string) error {
	return faultf("command_unproven", fix, "%s lets user %s in; that it would run %q is not proven: %s", p.step.address(), p.step.user(), line(p.step.Command), why)
}

const (
	markCan   = "dodai:can"
	markFound = "dodai:found"
	markPath  = "dodai:path "
	markAt    = "dodai:at "
)

// look finds out whether the shell there has the program. The answers are marked, so that
// a host that runs something else instead is not misunderstood.
func (p prober) look(ctx context.Context, word string) error {
	test := "command -v -- " + word + " >/dev/null 2>&1"
	if strings.Contains(word, "/") {
		test = "test -f " + word + " && test -x " + word
	}
	script := "command -v -- test >/dev/null 2>&1 && echo " + markCan + "; " + test + " && echo " + markFound + "; echo \"" + markPath + "$PATH\""
	said, err := p.run.run(ctx, script)
	if _, isExit := errors.AsType[*ssh.ExitError](err); err != nil && !isExit {
		return p.lost(err)
	}
	lines := strings.Split(strings.ReplaceAll(said, "\r", ""), "\n")
	switch {
	case !slices.Contains(lines, markCan):
		return p.unproven("it answers the question for it with "+quoteOrNothing(said), "if it runs a command of its own, say forced_command: true")
	case slices.Contains(lines, markFound):
		return nil
	}
	return p.missing(ctx, word, marked(lines, markPath))
}

func (p prober) lost(err error) error {
	if _, is := errors.AsType[*fault](err); is {
		return err
	}
	return &fault{"connection_lost", fmt.Sprintf("the connection to %s broke: %s", p.step.address(), line(err.Error())), "", err}
}

func quoteOrNothing(said string) string {
	if said = line(said); said == "" {
		return "nothing"
	}
	return fmt.Sprintf("%q", said)
}

func marked(lines []string, mark string) string {
	for _, l := range lines {
		if rest, is := strings.CutPrefix(l, mark); is {
			return line(rest)
		}
	}
	return ""
}

// plainWord is a name that means itself in every shell.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9._+-]+$`)

// elsewhere are folders in which programs lie that a short PATH does not have.
const elsewhere = "/sbin /usr/sbin /usr/local/sbin /usr/bin /usr/local/bin /opt/bin /opt/sbin /usr/syno/sbin /usr/syno/bin"

func (p prober) missing(ctx context.Context, word, path string) error {
	if !plainWord.MatchString(word) {
		return faultf("program_missing", "correct the path, or install it", "%s has no program %s that user %s can run", p.step.address(), word, p.step.user())
	}
	fix := "write its full path, or install it"
	script := "for d in " + elsewhere + "; do test -f $d/" + word + " && test -x $d/" + word + " && echo " + markAt + "$d/" + word + "; done"
	said, _ := p.run.run(ctx, script)
	if at := marked(strings.Split(said, "\n"), markAt); at != "" {
		fix = "write its full path: " + at
	}
	return faultf("program_missing", fix, "%s is not in the PATH of a non-interactive shell of user %s on %s: %s", word, p.step.user(), p.step.address(), path)
}

// mayRun asks sudo whether it would run a command without a password.
func (p prober) mayRun(ctx context.Context, command string) error {
	said, err := p.run.run(ctx, "sudo -n -l "+command)
	if err == nil {
		return nil
	}
	if _, isExit := errors.AsType[*ssh.ExitError](err); !isExit {
		return p.lost(err)
	}
	why := quoteOrNothing(said)
	if strings.Contains(said, "password is required") {
		why = "it asks for a password"
	}
	return faultf("sudo_refused", fmt.Sprintf("add to sudoers there: %s ALL=(root) NOPASSWD: %s", p.step.user(), line(command)),
		"sudo on %s does not let user %s run %q: %s", p.step.address(), p.step.user(), line(command), why)
}

// simple is what is understood of the beginning of a shell command.
type simple struct {
	words []string // programs that it needs, as written
	sudo  string   // what sudo is to run, with its arguments; empty: there is no sudo
}

// assignment stands before a command and is none.
var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// firstCommand reads the first command of a shell line. What is no plain command, or
// would run another one to find out, is left out.
func firstCommand(command string) simple {
	words := shellWords(command)
	for len(words) > 0 && assignment.MatchString(words[0]) {
		words = words[1:]
	}
	var s simple
	for len(words) > 1 && (words[0] == "exec" || words[0] == "nohup" || words[0] == "setsid") && !strings.HasPrefix(words[1], "-") {
		words = words[1:]
	}
	if len(words) == 0 {
		return s
	}
	s.words = words[:1]
	if words[0] == "sudo" || strings.HasSuffix(words[0], "/sudo") {
		s.sudo = strings.Join(sudoCommand(words[1:]), " ")
	}
	return s
}

// sudoCommand leaves the options of sudo out but those that say as whom.
func sudoCommand(words []string) []string {
	var as []string
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		option := words[0]
		words = words[1:]
		switch {
		case option == "--":
			return append(as, words...)
		case (option == "-u" || option == "-g") && len(words) > 0:
			as = append(as, option, words[0])
			words = words[1:]
		}
	}
	if len(words) == 0 {
		return nil
	}
	return append(as, words...)
}

// shellWords splits the first simple command of a shell line into words, quotes left in
// place. nil: it begins with something else, or a word of it runs a command.
func shellWords(command string) []string {
	var words []string
	var word strings.Builder
	quote := rune(0)
	flush := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
			word.Reset()
		}
	}
	escaped := false
	for _, r := range command {
		switch {
		case escaped:
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case r == ' ' || r == '\t':
			flush()
			continue
		case strings.ContainsRune(";&|\n<>#", r):
			flush()
			return runsNothing(words)
		case r == '(' || r == ')' || r == '{' || r == '}':
			return nil
		}
		word.WriteRune(r)
	}
	if quote != 0 || escaped {
		return nil
	}
	flush()
	return runsNothing(words)
}

func runsNothing(words []string) []string {
	for _, w := range words {
		if strings.Contains(w, "$(") || strings.ContainsRune(w, '`') {
			return nil
		}
	}
	return words
}
