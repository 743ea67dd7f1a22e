// Package supervisor is the unprivileged half of a broker: the life cycle,
// the output and the control sockets of one application. It runs in a
// compartment of its own, with no file system, no network and no right to
// start a program; all that it can do to a worker is ask the monitor, which
// does what the plan allows and nothing else.
//
// # States
//
// A component that starts with the application is in one of six states. Each
// transition is an event with its cause.
//
//	from      to        when
//	stopped   starting  it is wanted, what it comes after is ready, whoever restarts with it is down
//	failed    starting  the same, and its delay is over
//	starting  started   it is ready, as its policy's `ready` shows it
//	started   running   it has been ready for 10 s, or for as long as it waited to restart: its failures are forgotten
//	starting  stopping  it is not wanted any more, restarts with others, or was not ready in time
//	started   stopping  it is not wanted any more, restarts with others, missed its watchdog or failed its health checks
//	running   stopping  the same
//	stopping  stopped   its worker has ended as it was asked to
//	stopping  failed    its worker has ended, and it was stopped because it failed
//	starting  failed    its program could not be executed, or ended before it was ready, not with status 0
//	started   failed    its worker ended by itself, not with status 0
//	running   failed    the same
//	starting  stopped   its worker ended by itself with status 0
//	started   stopped   the same
//	running   stopped   the same
//	failed    stopped   it was about to start again, and is not wanted any more
//
// Where a policy's on-exit names the exit status or signal that a worker
// ended by itself with, that decides instead: it is failed and starts again,
// stopped, failed for good, or the application stops.
//
// A component in state failed or stopped may be about to start again: Status
// shows when (restart-at) or for whom it waits (waits-for). Components whose
// workers start for a connection, a request or an exec have no state of
// their own; the monitor starts those workers, and the supervisor counts
// them and ends them at the end.
//
// A component that starts on demand is one of those with states: it is
// stopped until a connection waits for it, and stopped again when it is idle
// (see demand.go).
//
// # Wanted and is
//
// Nothing here is a script that could hang half-way. Events, requests and
// timers change what is wanted of a component and what it is; after each of
// them reconcile starts and stops whatever may start and stop by now. So
// starts run in parallel unless `after` orders them, stops run in the
// reverse order, and a component that hangs delays only those that wait for
// it.
//
// # Restarts
//
// A worker that ends by itself starts again as `restart` says. The delay
// doubles with each failure and counts from the start before, so that a
// component that ran for long is back at once and one that exits at once
// starts at most once in each delay. Each restart counts in the component's
// group. As long as the group is within its limit, its strategy says who
// restarts too, in the words of Erlang/OTP:
//
//	one-for-one   nobody else
//	one-for-all   everybody in the group
//	rest-for-one  those that stand after it in the group
//
// Those go down in reverse order first, and up again in order when all are
// down. A component that had ended for good stays so; one that is pinned up
// is left alone. Beyond the limit the group itself has failed, which is one
// restart in the group that holds it, where the same rule decides; when the
// outermost group has failed, the application gives up.
//
// # The end
//
// The application ends when it is asked to (status 0), when an essential
// component has ended for good (its status), when a component cannot be
// started at the very beginning (126, 127 or 125), when the outermost group
// has failed (the status of the last failure, or 125 if that was 0), and
// when every component has ended by itself (the status of the first that
// failed, or 0). A second signal to stop, unless it is the echo of the first,
// kills everything at once.
//
// # Output
//
// All lines of components, standard error too, go to descriptor 1 with the
// component's name in front, or to the log that their policy names
// (type log), a file that the monitor opens and renames or journald; what the broker itself has to say goes to
// descriptor 2. So `2>/dev/null` leaves the application's words and
// `>/dev/null` the broker's. Type output explains how a component that
// writes without end slows itself only.
package supervisor
