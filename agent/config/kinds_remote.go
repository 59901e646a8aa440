package config

// remoteKinds are the kinds of steps that ask another machine.
func (d *decoder) remoteKinds(do *Do) []field {
	return nil
}
