/* What lies outside the compartment. The caller names it by KEY=VALUE arguments
 * (a launcher may well clear the environment) or by the environment:
 *
 *   PROBE_HOST_SECRET         path of a file that only the host sees
 *   PROBE_SECRET_HANDLE       its file handle, TYPE:HEX
 *   PROBE_HOST_DEVICE         the disk that it is on, MAJOR:MINOR
 *   PROBE_DEVICE_SECRET       its path on that disk
 *   PROBE_BLOCK_DEVICE        a disk that root may open, MAJOR:MINOR
 *   PROBE_STATE_DIRECTORY     where a launcher keeps its state
 *   PROBE_SHM_FILE            a file in /dev/shm
 *   PROBE_VICTIM_PID          the neighbour; a monitor or supervisor serves as well
 *   PROBE_VICTIM_ADDRESS      where its memory has the secret
 *   PROBE_VICTIM_FD           which descriptor has it
 *   PROBE_VICTIM_HANDLE       its pidfs file handle, TYPE:HEX
 *   PROBE_INIT_PID            who plays process 1 (else 1)
 *   PROBE_IPC_KEY, PROBE_QUEUE, PROBE_KEY
 *                             its System V key, POSIX queue, key in the user keyring
 *   PROBE_ABSTRACT_SOCKET, PROBE_UNIX_SOCKET, PROBE_TCP_PORT, PROBE_UDP_PORT
 *                             servers that greet with the secret
 *   PROBE_NETNS_HANDLE        file handle of the host's network namespace
 *   PROBE_HOST_CGROUP, _IPC, _MNT, _NET, _PID, _UTS
 *                             inodes of the host's namespaces
 *   PROBE_TTY                 set when standard input is a terminal of the caller
 *   PROBE_OTHER_TTY           a terminal of somebody else
 *   PROBE_SECONDS             how long one probe may take (else 3)
 *   PROBE_LIMIT_PROCESSES, _MEMORY, _LOCKED, _PIPES, _DESCRIPTORS, _DISK, _FILES,
 *   _INOTIFY, _CPU_SECONDS    what the policy allows (bytes, numbers, seconds)
 */
#include "probe.h"

#include <sys/socket.h>
#include <sys/time.h>

#define MOST_TARGETS 64
static const char *assignments[MOST_TARGETS];
static size_t assigned;

void add_target(const char *assignment)
{
	if (assigned < MOST_TARGETS)
		assignments[assigned++] = assignment;
}

const char *target(const char *key)
{
	size_t length = strlen(key);

	for (size_t i = 0; i < assigned; i++)
		if (!strncmp(assignments[i], key, length) && assignments[i][length] == '=')
			return assignments[i] + length + 1;
	return getenv(key);
}

long target_number(const char *key, long otherwise)
{
	const char *value = target(key);
	return value ? strtol(value, NULL, 0) : otherwise;
}

/* One that hangs has proven nothing. */
unsigned probe_seconds(void)
{
	return (unsigned)target_number("PROBE_SECONDS", 3);
}

/* What has not come after half of that does not come: whoever answers is late on a
 * busy machine, and that is no wall. */
void give_up_in_time(int fd)
{
	struct timeval limit = { .tv_sec = probe_seconds() / 2 + 1 };
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

/* Bare runs leave the machine's own process 1 alone: another plays it. */
long init_pid(void)
{
	return target_number("PROBE_INIT_PID", 1);
}

/* The first process of the program and the one forked for the probe: to reach
 * them is no feat, though in a compartment the first may well be process 1. */
static pid_t first_process;

void remember_own_process(void)
{
	first_process = getpid();
}

int is_own_process(long pid)
{
	return pid == first_process || pid == getpid();
}

enum verdict no_target(const char *key)
{
	return untested("the caller did not give %s", key);
}

int has_marker(int fd)
{
	char bytes[sizeof MARKER - 1];
	size_t have = 0;

	while (have < sizeof bytes) {
		ssize_t got = read(fd, bytes + have, sizeof bytes - have);
		if (got <= 0)
			return 0;
		have += (size_t)got;
	}
	return !memcmp(bytes, MARKER, sizeof bytes);
}

/* The last step of many probes: a descriptor was won, is it worth something? */
enum verdict read_secret(int fd, const char *way)
{
	if (fd < 0)
		return refused(way);
	int found = has_marker(fd);
	int reading = errno;
	close(fd);
	if (found)
		return escaped("read the outside secret by %s", way);
	return stopped("%s gave a descriptor without the secret (%s)", way, errno_name(reading));
}

/* Handles are passed as TYPE:HEX, as name_to_handle_at(2) gave them outside. */
struct file_handle *target_handle(const char *key)
{
	const char *value = target(key);
	if (!value)
		return NULL;
	char *hex;
	long type = strtol(value, &hex, 10);
	if (*hex != ':')
		return NULL;
	hex++;
	size_t bytes = strlen(hex) / 2;
	struct file_handle *handle = calloc(1, sizeof *handle + bytes);
	if (!handle)
		return NULL;
	handle->handle_bytes = (unsigned)bytes;
	handle->handle_type = (int)type;
	for (size_t i = 0; i < bytes; i++) {
		unsigned byte;
		sscanf(hex + 2 * i, "%2x", &byte);
		handle->f_handle[i] = (unsigned char)byte;
	}
	return handle;
}
