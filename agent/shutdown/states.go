package shutdown

import (
	"slices"
	"time"
)

// StepState is how far a step of the plan has come.
type StepState struct {
	Step  string
	Phase Phase
	Since time.Duration // when it came to Phase, on the agent's clock; 0: it is waiting
	Took  time.Duration // of a step done, failed or undone
	// Attempt counts its runs from 1; 0: it has not begun.
	Attempt int
	Why     string // it failed, is skipped, or is run again; empty: there is nothing to say
}

// States returns how far each step has come, in the plan's order, the power-off last.
func (e *Executor) States() []StepState {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.states)
}

func freshStates(p *Plan) []StepState {
	states := make([]StepState, 0, len(p.Steps)+1)
	for i := range p.Steps {
		states = append(states, StepState{Step: p.Steps[i].Name, Phase: PhaseWaiting})
	}
	return append(states, StepState{Step: PowerOffStep, Phase: PhaseWaiting})
}

// setState takes what is recorded into what is shown.
func (e *Executor) setState(p Progress) {
	if p.Phase == PhaseNoReturn {
		return
	}
	e.changeState(p.Step, func(s *StepState) {
		if p.Phase == PhaseStarted {
			s.Attempt, s.Why = 1, ""
		}
		s.Phase, s.Since, s.Took = p.Phase, p.At, p.Took
	})
}

// explainState says why a step is where it is.
func (e *Executor) explainState(step, why string) {
	e.changeState(step, func(s *StepState) { s.Why = why })
}

func (e *Executor) changeState(step string, change func(*StepState)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := slices.IndexFunc(e.states, func(s StepState) bool { return s.Step == step }); i >= 0 {
		change(&e.states[i])
	}
}
