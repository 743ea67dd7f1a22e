package handover

// What the monitor orders the keeper to execute; broker/keeper/keeper.c has the
// same numbers. An order and its answer are packets of 32-bit numbers in host
// byte order: what, id; and what, id, errno, pid with a pidfd.
const (
	OrderBuild = 1 // with the builder's socket and a copy of the sweeper's pipe
	OrderSweep = 2 // with the other end of a sweeper's pipe, and the lock
	OrderWatch = 3 // with the listener of the monitor's own filter; it has no answer

	OrderSize  = 8
	AnswerSize = 16
)
