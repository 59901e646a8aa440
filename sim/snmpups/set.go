package snmpups

// writes is who may set what. The zero value is an agent that nobody may write to.
type writes struct {
	community string // empty: none
	// take carries out one assignment and returns an error state, 0 for done. It is
	// called with nothing locked.
	take func(Binding) int
}

// AllowWrites makes the agent take SET requests with the community, which may read as
// well. take carries out one assignment and returns an error state of SNMP version 2, 0
// for done. An empty community lets nobody write.
func (a *Agent) AllowWrites(community string, take func(Binding) int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writes = writes{community, take}
}

// by reports whether a community may write.
func (w writes) by(community string) bool { return w.community != "" && community == w.community }

// answerSet carries out a SET, one object after the other. Real agents undo the first
// where the second fails; nobody sends this one more than one that matters.
func (a *Agent) answerSet(response *message, w writes) {
	for i, b := range response.binds {
		status := errNoAccess
		if w.by(response.community) {
			status = w.take(b)
		} else if _, found := a.objects.get(b.OID); !found || w.community == "" {
			status = errNotWritable
		}
		if status != 0 {
			response.status, response.index = int64(inVersion(response.version, status)), int64(i+1)
			return
		}
	}
}

// inVersion is a state as the version knows it. Source: RFC 2576, section 4.3.
func inVersion(version int64, status int) int {
	switch {
	case version != version1 || status <= errGen:
		return status
	case status == errWrongType || status == errWrongValue:
		return errBadValue
	default:
		return errNoSuchName
	}
}
