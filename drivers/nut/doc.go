// Package nut reads a UPS through the upsd of Network UPS Tools, or of a NAS that
// speaks its protocol: one persistent TCP connection, one LIST VAR per poll.
//
// What upsd passes on comes from whatever driver stands behind it, so a value is
// judged by its variable's name, never by its look: a serial number "007" stays text,
// a charge of "020" is the number 20.
//
// Sources: RFC 9271 (the protocol and the list of variable names) and the behaviour of
// upsd 2.8.0 on the wire. Where the two differ the server is followed:
//   - reads need no user and no password; a wrong password shows only at LOGIN;
//   - PRIMARY, LOGIN and STARTTLS answer "OK" with more words behind it;
//   - a reply's list trailer repeats the request's words as the client wrote them;
//   - upsd closes a connection after 60 s without a request, and says nothing.
package nut
