package agent

// armKillPower writes down what the UPSes are to be told when the machine is down.
func (a *Agent) armKillPower() {}

// disarmKillPower takes that back.
func (a *Agent) disarmKillPower() {}
