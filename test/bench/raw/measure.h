/* What every raw program shares: the clock, the samples, processes and descriptors in flight. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdint.h>
#include <sys/types.h>

/* now is CLOCK_MONOTONIC in nanoseconds: the same clock in every process, so that a program's own
   stamp can be compared with the time of the request. */
int64_t now(void);

/* account_begin puts the caller, and with it everything that it starts, into a cgroup that counts. processor_time is
   what all of them have used, in nanoseconds, the dead and those that nobody waits for too: whoever has just ended has a
   moment to be gone. account_end leaves and removes the group. */
void account_begin(void);
int64_t processor_time(void);
void account_end(void);

/* Samples are kept until the end: printing between two measurements would disturb the second. */
void samples_begin(long count);
void sample(int64_t nanoseconds);
void samples_print(void);

_Noreturn void die(const char *what);

/* iterations reads the first argument of every raw program: how many samples to print. */
long iterations(int argc, char **argv);

/* clone_process is clone3 with fork's semantics plus the namespaces in flags. */
pid_t clone_process(uint64_t flags);

/* wait_success ends the benchmark when the child failed: a failing program starts very fast. */
void wait_success(pid_t child);

/* stamp_pipe makes the pipe that the program `stamp` writes to; read_stamp reads one of its lines. */
void stamp_pipe(int ends[2]);
int64_t read_stamp(int from);

/* One packet of bytes with descriptors, over SOCK_SEQPACKET. receive returns how many bytes came, 0 when
   the other end is gone, and sets *count to the number of descriptors. */
enum { MOST_DESCRIPTORS = 8 };
void send_packet(int socket, const void *bytes, size_t length, const int *descriptors, int count);
ssize_t receive_packet(int socket, void *bytes, size_t length, int *descriptors, int *count);

/* stay_on_this_core pins the caller and what it forks, so that no wake-up crosses cores. */
void stay_on_this_core(void);

#endif
