// Package action has the kinds of steps a plan is made of, and what each can find out
// beforehand about whether it would work. New makes the one that the configuration
// names.
//
// Every kind keeps the contract of shutdown.Action. Programs (systemctl, virsh, qm,
// docker …) are run through Task.Process, so that they are sessions of their own which
// outlive the daemon; work inside the daemon (HTTP, ssh, Redfish, IPMI) is bounded by
// Task.Context.
package action
