package config

// localKinds are the kinds of steps that act on this machine.
func (d *decoder) localKinds(do *Do) []field {
	return []field{
		{"command", `command: ["/usr/local/sbin/drain"]`, d.command("command", &do.Command)},
		{"unit", "unit: postgresql.service", d.unit(&do.Unit)},
	}
}
