#include <sys/types.h>

/* What was there before Go's runtime was. */
extern struct early {
	int socket; /* of a builder that waits for its order; -1 where there is none */
	pid_t pid;
	char program[4096];
	long slack; /* of timers, in nanoseconds, as whoever started this has it; 0 where this has the same */
} early;
