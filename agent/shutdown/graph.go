package shutdown

import "slices"

// index returns where the step called name stands, -1 when there is none.
func (p *Plan) index(name string) int {
	return slices.IndexFunc(p.Steps, func(s Step) bool { return s.Name == name })
}

// after returns the indexes of the steps that step i waits for.
func (p *Plan) after(i int) []int {
	s := &p.Steps[i]
	if s.After == nil {
		if i == 0 {
			return nil
		}
		return []int{i - 1}
	}
	var list []int
	for _, name := range s.After {
		if k := p.index(name); k >= 0 {
			list = append(list, k)
		}
	}
	return list
}

// circle returns the names of steps that wait for each other, nil when none do.
func (p *Plan) circle() []string {
	const (
		unseen = iota
		open
		closed
	)
	state := make([]int, len(p.Steps))
	var path []int
	var visit func(i int) []string
	visit = func(i int) []string {
		state[i] = open
		path = append(path, i)
		for _, k := range p.after(i) {
			switch state[k] {
			case open:
				var names []string
				for _, at := range append(path[slices.Index(path, k):], k) {
					names = append(names, p.Steps[at].Name)
				}
				return names
			case unseen:
				if c := visit(k); c != nil {
					return c
				}
			}
		}
		state[i], path = closed, path[:len(path)-1]
		return nil
	}
	for i := range p.Steps {
		if state[i] == unseen {
			if c := visit(i); c != nil {
				return c
			}
		}
	}
	return nil
}

// descendants returns the steps that come after step at, directly or through others.
func (p *Plan) descendants(at int) []bool {
	after := make([]bool, len(p.Steps))
	for range p.Steps {
		for i := range p.Steps {
			for _, k := range p.after(i) {
				after[i] = after[i] || k == at || after[k]
			}
		}
	}
	return after
}

// order returns the steps so that each comes after those it waits for, and otherwise as
// the plan has them.
func (p *Plan) order() []int {
	var order []int
	taken := make([]bool, len(p.Steps))
	for range p.Steps {
		for i := range p.Steps {
			ready := !taken[i]
			for _, k := range p.after(i) {
				ready = ready && taken[k]
			}
			if ready {
				taken[i] = true
				order = append(order, i)
				break
			}
		}
	}
	return order
}
