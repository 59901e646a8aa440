// Package notify runs the hooks of the configuration: programs that are told of events.
//
//	hooks:
//	  - on: [mains_lost, mains_restored]
//	    command: ["/usr/local/bin/notify", "{event}", "{device}: {text}"]
//	    timeout: 10s
//
// A program is run as it is, without a shell: what a placeholder stands for is part of
// one argument, whatever it contains. Placeholders are {event}, {device}, {text},
// {time} (RFC 3339 with milliseconds), {drill}, and the name of any of the event's
// fields; braces around anything else stay as they are, so JSON can be written in an
// argument. The same stands in the environment: DODAI_EVENT, DODAI_DEVICE, DODAI_TEXT,
// DODAI_TIME, DODAI_DRILL and DODAI_FIELD_name.
//
// # What hooks can count on
//
// Each hook has a queue and a worker of its own: one event after the other, in order,
// and no hook waits for another. The events of a shutdown (Urgent) have a second worker
// per hook, so they start at once, however long the queue and whatever hangs. A program
// that runs longer than its time-out is killed with its whole process group. When a
// queue is full the oldest event is dropped and the hook reported as failed.
package notify
