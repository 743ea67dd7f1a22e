#ifndef AGAIN_H
#define AGAIN_H

#include <errno.h>
#include <time.h>

enum { MEMORY_TRIES = 200, MEMORY_PAUSE_MS = 5 };

/* Whether a call that failed is made again: it was interrupted, or the kernel
 * had no memory for it, for a second at most. Nothing was sent or taken then,
 * and what is told by it, nobody else could tell. tried counts, from 0 on. */
static inline int again(int *tried)
{
	const struct timespec pause = { .tv_nsec = MEMORY_PAUSE_MS * 1000000 };
	if (errno == EINTR)
		return 1;
	if ((errno != ENOMEM && errno != ENOBUFS) || ++*tried > MEMORY_TRIES)
		return 0;
	nanosleep(&pause, NULL);
	return 1;
}

#endif
