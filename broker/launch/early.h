#include <sys/types.h>

/* A builder that was started before Go's runtime. */
extern struct early {
	int socket; /* of a builder that waits for its order; -1 where there is none */
	pid_t pid;
	char program[4096];
} early;
