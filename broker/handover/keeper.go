package handover

// What the monitor orders the keeper to execute; broker/keeper/keeper.c has the
// same numbers. An order and its answer are packets of 32-bit numbers in host
// byte order: what, id; and what, id, errno, pid with a pidfd.
const (
	OrderBuild  = 1 // with the builder's socket and a copy of the sweeper's pipe
	OrderSweep  = 2 // with the other end of a sweeper's pipe, and the lock
	OrderWatch  = 3 // with the listener of the monitor's own filter; it has no answer
	OrderNext   = 4 // as OrderBuild, out of the plan that sandbox reload has brought
	OrderCommit = 5 // that plan is the plan; without descriptors, and not answered
	OrderDrop   = 6 // that plan is none; the same

	// Brought is what the keeper says, unasked, of a plan that sandbox reload
	// has brought: with the connection and the plan.
	Brought = 7

	OrderSize  = 8
	AnswerSize = 16
)
