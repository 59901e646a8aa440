package snmpups

import (
	"slices"
	"sync"
)

// table holds the objects the agent answers from. Its methods may be called at once.
type table struct {
	mu        sync.Mutex
	list      []Binding // sorted unless fileOrder
	fileOrder bool
}

func byOID(b Binding, oid OID) int { return b.OID.Compare(oid) }

func (t *table) find(oid OID) (int, bool) {
	if t.fileOrder {
		i := slices.IndexFunc(t.list, func(b Binding) bool { return b.OID.Compare(oid) == 0 })
		return max(i, 0), i >= 0
	}
	return slices.BinarySearchFunc(t.list, oid, byOID)
}

func (t *table) get(oid OID) (Value, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, found := t.find(oid)
	if !found {
		return Value{}, false
	}
	return t.list[i].Value, true
}

// next is the object after oid. In file order that is the next line of the file, as
// with an agent whose tables are not sorted.
func (t *table) next(oid OID) (Binding, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, found := t.find(oid)
	switch {
	case found:
		i++
	case t.fileOrder:
		i = slices.IndexFunc(t.list, func(b Binding) bool { return b.OID.Compare(oid) > 0 })
	}
	if i < 0 || i >= len(t.list) {
		return Binding{}, false
	}
	return t.list[i], true
}

func (t *table) set(oid OID, v Value) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, found := t.find(oid)
	switch {
	case found:
		t.list[i].Value = v
	case t.fileOrder:
		t.list = append(t.list, Binding{oid, v})
	default:
		t.list = slices.Insert(t.list, i, Binding{oid, v})
	}
}

func (t *table) remove(oid OID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, found := t.find(oid); found {
		t.list = slices.Delete(t.list, i, i+1)
	}
}

// load replaces everything. Of an object that is there twice the first counts.
func (t *table) load(list []Binding, fileOrder bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list, t.fileOrder = slices.Clone(list), fileOrder
	if !fileOrder {
		slices.SortStableFunc(t.list, func(a, b Binding) int { return a.OID.Compare(b.OID) })
		t.list = slices.CompactFunc(t.list, func(a, b Binding) bool { return a.OID.Compare(b.OID) == 0 })
	}
}

func (t *table) all() []Binding {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.list)
}
