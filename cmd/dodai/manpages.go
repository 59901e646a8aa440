package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// manpagesCmd is used by the packages.
func manpagesCmd() *cobra.Command {
	return &cobra.Command{
		Use: "manpages DIR", Short: "Write the manual pages of all commands into a folder", Hidden: true, Args: exactly(1, "a folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, c := range documented(cmd.Root()) {
				path := filepath.Join(args[0], manName(c)+".8")
				if err := os.WriteFile(path, []byte(manPage(c)), 0o644); err != nil {
					return fmt.Errorf("dodai manpages: %w", err)
				}
			}
			return nil
		},
	}
}

// documented are the commands with a page: every one with something to run, those for the
// service manager as well, but not what cobra brings along.
func documented(c *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{c}
	for _, child := range c.Commands() {
		switch child.Name() {
		case "help", "completion", "manpages", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
		default:
			list = append(list, documented(child)...)
		}
	}
	return list
}

// manName is the page's name: dodai-drill-run.
func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manPage is the manual page of one command in the macros of man(7). It has nothing that is
// not in --help but the names of the other pages. Its date is the build's.
func manPage(c *cobra.Command) string {
	var b strings.Builder
	day, _, _ := strings.Cut(date, "T")
	fmt.Fprintf(&b, ".TH %s 8 %q %q %q\n.nh\n", strings.ToUpper(roff(manName(c))), day, "dodai "+version, "dodai")
	section := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, ".SH %s\n%s", name, text)
		}
	}
	section("NAME", roff(manName(c))+` \- `+roff(strings.TrimRight(c.Short, "."))+"\n")
	section("SYNOPSIS", manSynopsis(c))
	long := c.Long
	if long == "" {
		long = c.Short + "."
	}
	section("DESCRIPTION", manText(long))
	section("COMMANDS", manCommands(c))
	section("OPTIONS", manFlags(c))
	section("EXAMPLES", manText(c.Example))
	if c.HasParent() { // the program's own description has it
		section("EXIT STATUS", manText("0 done and in order, 1 failed, 2 wrong usage or configuration, 3 the thing asked about is not in order."))
	}
	section("FILES", manText(`  /etc/dodai/dodai.yaml     the configuration
  /usr/share/doc/dodai/     what an operator has to know, every key of the configuration`))
	section("SEE ALSO", manSee(c))
	return b.String()
}

func manSynopsis(c *cobra.Command) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(c.UseLine(), c.CommandPath()), " ")
	if c.HasSubCommands() {
		rest = strings.TrimSpace(rest + " [COMMAND]")
	}
	return ".B " + roff(c.CommandPath()) + "\n" + roff(rest) + "\n"
}

// manCommands are the pages below the command's.
func manCommands(c *cobra.Command) string {
	var b strings.Builder
	for _, child := range documented(c)[1:] {
		if child.Parent() == c {
			fmt.Fprintf(&b, ".TP\n.BR %s (8)\n%s\n", roff(manName(child)), roff(child.Short))
		}
	}
	return b.String()
}

func manSee(c *cobra.Command) string {
	above := "dodai.yaml (5)"
	if c.HasParent() {
		above = roff(manName(c.Parent())) + " (8)"
	}
	return ".BR " + above + "\n"
}

// flagLine is one line of cobra's list: the flag, two or more blanks, what it is for.
var flagLine = regexp.MustCompile(`(?m)^ *(-.*?)  +(.*)$`)

func manFlags(c *cobra.Command) string {
	var b strings.Builder
	for _, m := range flagLine.FindAllStringSubmatch(c.NonInheritedFlags().FlagUsages(), -1) {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(m[1]), roff(m[2]))
	}
	return b.String()
}

// manText sets paragraphs; lines that begin with a blank stay as they are.
func manText(text string) string {
	var b strings.Builder
	asIs := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if verbatim := strings.HasPrefix(line, " "); verbatim != asIs && line != "" {
			asIs = verbatim
			b.WriteString(map[bool]string{true: ".PP\n.nf\n", false: ".fi\n"}[asIs])
		}
		if line == "" {
			b.WriteString(".PP\n")
			continue
		}
		b.WriteString(roff(line) + "\n")
	}
	if asIs {
		b.WriteString(".fi\n")
	}
	return b.String()
}

var roffEscapes = strings.NewReplacer(`\`, `\e`, "-", `\-`)

// roff escapes text so that none of it is taken for a request.
func roff(text string) string {
	text = roffEscapes.Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
