/* The thread by which Go's runtime looks after the others wakes every twenty
 * microseconds while there is work: a tenth of what the builder and libcontainer's
 * init cost. It may come a millisecond later. It inherits that here, before the
 * runtime has threads; those that start something are set back (late.go).
 */
#include <sys/prctl.h>

long usual_slack; /* of timers, in nanoseconds, as whoever started the builder has it */

__attribute__((constructor)) static void be_late(void)
{
	usual_slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
	prctl(PR_SET_TIMERSLACK, 1000000, 0, 0, 0);
}
