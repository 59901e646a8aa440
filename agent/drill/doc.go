// Package drill rehearses outages: it reads scenario files, replays them on virtual time
// through the agent's own policy and schedule, conducts tabletop drills and rehearsals,
// and writes their reports.
//
// A drill never touches the agent's own decision. A tabletop plays on paper; a rehearsal
// lays the outage over the live readings for a second decision with a memory of its
// own, and ends as soon as what really is asks for attention.
package drill
