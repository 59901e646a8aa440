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
// programs that the command needs, and sudo, where that stands before one, whether it
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
	for _, c := range commands(p.step.Command) {
		if err := p.look(ctx, c.word); err != nil {
			return err
		}
		if c.sudo == "" {
			continue
		}
		if err := p.mayRun(ctx, c.sudo); err != nil {
			return err
		}
	}
	return nil
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
	if errors.Is(err, shutdown.ErrTimeout) || isTimeout(err) {
		return &fault{"no_answer", p.step.address() + " lets user " + p.step.user() + " in and then runs no command in time", "look for what hangs there: a shell's start files, a dead network disk", err}
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

// simple is what is understood of one command of a shell line.
type simple struct {
	word string // the program that it needs, as written
	sudo string // what sudo is to run, with its arguments; empty: there is no sudo
}

const maxCommands = 8 // of a line that are looked at

var (
	// assignment stands before a command and is none.
	assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
	// conditions decide whether what comes after them runs at all.
	conditions = []string{"if", "while", "until", "for", "case", "test", "[", "[[", "!"}
	// changers make what comes after them mean something else.
	changers = []string{".", "source", "eval", "export", "set", "alias", "cd", "exit", "exec"}
	// carriers run the command that follows them.
	carriers = []string{"exec", "nohup", "setsid", "sudo"}
)

// commands reads the commands of a shell line that will run for certain. It stops at the
// first thing that is more than a plain command: what it does not return is not looked
// at, and that is all.
func commands(text string) []simple {
	var all []simple
	for _, part := range shellParts(text) {
		words := part.words
		for len(words) > 0 && assignment.MatchString(words[0]) {
			if strings.HasPrefix(words[0], "PATH=") {
				return all
			}
			words = words[1:]
		}
		if len(words) == 0 {
			continue
		}
		first := words[0]
		if slices.Contains(conditions, first) || len(all) == maxCommands {
			return all
		}
		if c := plainCommand(words); !part.otherwise && c.word != "" {
			all = append(all, c)
		}
		if slices.Contains(changers, first) {
			return all
		}
	}
	return all
}

func plainCommand(words []string) simple {
	for len(words) > 1 && words[0] != "sudo" && slices.Contains(carriers, words[0]) && !strings.HasPrefix(words[1], "-") {
		words = words[1:]
	}
	c := simple{word: words[0]}
	if c.word == "sudo" || strings.HasSuffix(c.word, "/sudo") {
		c.sudo = strings.Join(sudoCommand(words[1:]), " ")
	}
	return c
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

func inName(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// shellPart is a command between two operators, with its words as written.
type shellPart struct {
	words     []string
	otherwise bool // "||" follows: it may fail
}

// shellParts splits a shell line into its commands, up to the first thing that is none
// or would have to be run to be understood.
func shellParts(text string) []shellPart {
	var (
		parts  []shellPart
		words  []string
		word   strings.Builder
		quote  byte
		target bool // the next word is a file to write to
	)
	flush := func() {
		if word.Len() > 0 && !target {
			words = append(words, word.String())
		}
		if word.Len() > 0 {
			target = false
		}
		word.Reset()
	}
	end := func(otherwise bool) {
		flush()
		parts, words = append(parts, shellPart{words, otherwise}), nil
	}
	for i := 0; i < len(text); i++ {
		c, next := text[i], byte(0)
		if i+1 < len(text) {
			next = text[i+1]
		}
		switch {
		case c < ' ' && c != '\t' && c != '\n', c == '`', c == '$' && quote != '\'' && !inName(next):
			return parts // may run something, or shells differ about it
		case c == '\\' && quote != '\'':
			if next == 0 || next == '\n' {
				return parts
			}
			word.WriteByte(c)
			word.WriteByte(next)
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
			word.WriteByte(c)
		case c == '\'' || c == '"':
			quote = c
			word.WriteByte(c)
		case c == ' ' || c == '\t':
			flush()
		case c == '(' || c == ')' || c == '{' || c == '}' || c == '<' && next == '<':
			return parts
		case c == '#' && word.Len() == 0:
			end(false)
			return parts
		case c == '<' || c == '>' || c == '&' && next == '>':
			if strings.Trim(word.String(), "0123456789") == "" {
				word.Reset() // the number of a stream
			}
			flush()
			target = true
			for i+1 < len(text) && strings.IndexByte("<>&|", text[i+1]) >= 0 {
				i++
			}
		case c == ';' || c == '&' || c == '|' || c == '\n':
			end(c == '|' && next == '|')
			if next == c {
				i++
			}
		default:
			word.WriteByte(c)
		}
	}
	if quote == 0 {
		end(false)
	}
	return parts
}
