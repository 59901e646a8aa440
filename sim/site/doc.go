// Package site draws whole sites at random, keeps the physical truth apart from what the
// devices report, and judges by the truth what an agent did there.
//
// A Site is drawn from a seed: feeds, UPSes with their batteries, power supplies and how
// they are wired; an outage, or something that must not be taken for one; and what each
// device says, which may be coarse, late, wrong or nothing. The truth (charge, load, who
// is fed by what) is computed once, on a grid of half seconds. An agent is driven with
// Read, tells what it really got with Saw, and is judged with Judge.
//
// What counts as unprotected, needless and unwarned is fixed in
// docs/adr/0006-what-counts-as-unprotected-and-needless.md.
//
// The package shares no code with the policy it judges: it knows the vocabulary of
// package dodai and nothing else. Sources of the physics: Peukert's law for the charge a
// lead-acid battery gives at a given load, with its flat curve and the knee at its end;
// the reports follow what published device dumps of Network UPS Tools show.
//
// A Site is not safe for concurrent use; different Sites share nothing.
package site
