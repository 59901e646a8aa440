package snmpups

import "slices"

// answer is the response to a request, nil for none.
func (a *Agent) answer(request *message, limits Limits, writes writes) *message {
	response := *request
	response.pdu, response.status, response.index = pduResponse, 0, 0
	response.binds = slices.Clone(request.binds)
	if request.version != version1 && limits.OnlyV1 {
		return nil
	}
	if limits.Binds > 0 && len(request.binds) > limits.Binds {
		return tooBig(request, limits)
	}
	oneByOne := request.version == version1 || limits.V1Rules
	switch request.pdu {
	case pduGet:
		a.answerGet(&response, oneByOne)
	case pduGetNext:
		a.answerNext(&response, oneByOne)
	case pduGetBulk:
		if request.version == version1 || limits.NoBulk {
			return nil
		}
		a.answerBulk(request, &response)
	case pduSet:
		a.answerSet(&response, writes)
	default:
		return nil
	}
	if limits.Octets > 0 && len(response.encode()) > limits.Octets {
		return tooBig(request, limits)
	}
	return &response
}

// tooBig has no bindings in v2c and those of the request in v1 (RFC 3416, section
// 4.2.1; RFC 1157, section 4.1.2).
func tooBig(request *message, limits Limits) *message {
	if limits.Drop {
		return nil
	}
	response := *request
	response.pdu, response.status, response.index = pduResponse, errTooBig, 0
	if request.version != version1 {
		response.binds = nil
	}
	return &response
}

func (a *Agent) answerGet(response *message, oneByOne bool) {
	for i, b := range response.binds {
		v, found := a.objects.get(b.OID)
		switch {
		case found:
			response.binds[i].Value = v
		case oneByOne:
			response.status, response.index = errNoSuchName, int64(i+1)
			return
		default:
			response.binds[i].Value = Value{Tag: TagNoSuchInstance}
		}
	}
}

func (a *Agent) answerNext(response *message, oneByOne bool) {
	for i, b := range response.binds {
		next, found := a.objects.next(b.OID)
		switch {
		case found:
			response.binds[i] = next
		case oneByOne:
			response.status, response.index = errNoSuchName, int64(i+1)
			return
		default:
			response.binds[i].Value = Value{Tag: TagEndOfMib}
		}
	}
}

// maxRows bounds a GETBULK as real agents do, by what fits in a datagram.
const maxRows = 500

func (a *Agent) answerBulk(request, response *message) {
	single := int(min(max(request.status, 0), int64(len(request.binds))))
	response.binds = nil
	for _, b := range request.binds[:single] {
		response.binds = append(response.binds, a.nextOrEnd(b.OID))
	}
	row := slices.Clone(request.binds[single:])
	for range min(max(request.index, 0), maxRows) {
		if len(response.binds)+len(row) > maxRows {
			return
		}
		for i := range row {
			row[i] = a.nextOrEnd(row[i].OID)
		}
		response.binds = append(response.binds, row...)
	}
}

func (a *Agent) nextOrEnd(oid OID) Binding {
	if next, found := a.objects.next(oid); found {
		return next
	}
	return Binding{OID: oid, Value: Value{Tag: TagEndOfMib}}
}
