package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// localKinds are the kinds of steps that act on this machine.
func (d *decoder) localKinds(do *Do) []field {
	return []field{
		{"command", `command: ["/usr/local/sbin/drain"]`, d.command("command", &do.Command)},
		{"unit", "unit: postgresql.service", d.unit(&do.Unit)},
		{"libvirt", "libvirt: {destroy_after: 45s}", d.libvirt(do)},
		{"proxmox", "proxmox: {stop_after: 45s}", d.proxmox(do)},
		{"containers", "containers: docker", d.containers(do)},
		{"wall", "wall: The server is going down.", d.message("wall", "The server is going down.", &do.Wall)},
		{"notify", "notify: the database is being stopped", d.message("notify", "the database is being stopped", &do.Notify)},
	}
}

func (d *decoder) libvirt(do *Do) reader {
	return func(n ast.Node) {
		const want = "the name of a domain as virsh lists it"
		var l Libvirt
		seen := d.object(n, "libvirt", []field{
			d.inStep("destroy_after", "45s", &l.Destroy),
			{"domains", "domains: [mail, web]", d.words("domains", want, "[mail, web]", argument, &l.Domains)},
			{"except", "except: [firewall]", d.words("except", want, "[firewall]", argument, &l.Except)},
			{"uri", `uri: "qemu:///system"`, d.hypervisor(&l.URI)},
			{"virsh", "virsh: /usr/bin/virsh", d.executable("virsh", "/usr/bin/virsh", &l.Virsh)},
		})
		d.allBut(seen, "domains")
		do.Libvirt = &l
	}
}

var guestForm = regexp.MustCompile(`^[1-9][0-9]{2,8}$`)

func (d *decoder) proxmox(do *Do) reader {
	return func(n ast.Node) {
		const want = "the id of a guest, 100 or above"
		var p Proxmox
		seen := d.object(n, "proxmox", []field{
			d.inStep("stop_after", "45s", &p.Stop),
			{"guests", "guests: [100, 101]", d.words("guests", want, "[100, 101]", guestForm.MatchString, &p.Guests)},
			{"except", "except: [102]", d.words("except", want, "[102]", guestForm.MatchString, &p.Except)},
			{"qm", "qm: /usr/sbin/qm", d.executable("qm", "/usr/sbin/qm", &p.QM)},
			{"pct", "pct: /usr/sbin/pct", d.executable("pct", "/usr/sbin/pct", &p.PCT)},
		})
		d.allBut(seen, "guests")
		do.Proxmox = &p
	}
}

var containerForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$`)

// containers reads the engine alone, or keys and values.
func (d *decoder) containers(do *Do) reader {
	return func(n ast.Node) {
		const want = "the name of a container"
		c := &Containers{}
		do.Containers = c
		if _, text := n.(*ast.StringNode); text {
			d.engine(c)(n)
			return
		}
		seen := d.object(n, "containers", []field{
			{"engine", "engine: docker", d.engine(c)},
			{"names", "names: [web, cache]", d.words("names", want, "[web, cache]", containerForm.MatchString, &c.Names)},
			{"except", "except: [proxy]", d.words("except", want, "[proxy]", containerForm.MatchString, &c.Except)},
			d.inStep("grace", "20s", &c.Grace),
		})
		d.required(n, "containers", seen, "engine", "engine: docker")
		d.allBut(seen, "names")
	}
}

func (d *decoder) engine(c *Containers) reader {
	const want, example = "docker, podman, or the absolute path of one of them", "docker"
	return func(n ast.Node) {
		s, ok := d.scalar(n, "engine", want, example)
		switch {
		case !ok:
		case s != "docker" && s != "podman" && !isProgram(s, true):
			d.problem(nodeAt(n), fmt.Sprintf("engine is %q%s", s, Meant(s, []string{"docker", "podman"})), want, example)
		default:
			d.program(nodeAt(n), "containers", s)
			c.Engine = s
		}
	}
}

// hypervisor reads the URI under which virsh reaches it.
func (d *decoder) hypervisor(into *string) reader {
	const want, example = "a URI of libvirt without a password", `"qemu:///system"`
	return func(n ast.Node) {
		s, ok := d.scalar(n, "uri", want, example)
		if !ok {
			return
		}
		u, err := url.Parse(s)
		if secret := err == nil && hasPassword(u); err != nil || secret || u.Scheme == "" || !strings.Contains(s, "://") || !argument(s) {
			d.problem(nodeAt(n), fmt.Sprintf("uri is %q", anyUser.ReplaceAllString(s, mask+"@")), want, example)
			return
		}
		*into = s
	}
}

func hasPassword(u *url.URL) bool {
	_, has := u.User.Password()
	return has
}

// executable reads the name of a program, or its absolute path.
func (d *decoder) executable(where, example string, into *string) reader {
	const want = "a program, by its name or its absolute path"
	return func(n ast.Node) {
		s, ok := d.scalar(n, where, want, example)
		switch {
		case !ok:
		case !isProgram(s, false):
			d.problem(nodeAt(n), fmt.Sprintf("%s is %q", where, s), want, example)
		default:
			d.program(nodeAt(n), where, s)
			*into = s
		}
	}
}

func isProgram(s string, absolute bool) bool {
	return argument(s) && !strings.HasSuffix(s, "/") && (filepath.IsAbs(s) || !absolute && !strings.Contains(s, "/"))
}

// allBut refuses exceptions where those that are meant are named.
func (d *decoder) allBut(seen map[string]position, named string) {
	if _, given := seen[named]; !given {
		return
	}
	if at, both := seen["except"]; both {
		d.problem(at, "except beside "+named, "one of them: except leaves some of all out", "")
	}
}
