/* The init of a compartment: a tiny static program that libcontainer starts
 * as pid 1 behind all the walls of the component. It forks workers, each in
 * fresh pid, mount and ipc namespaces and a cgroup leaf of its own, and ends
 * when the monitor does.
 *
 *   enter.c   what it does first where the builder starts it without libcontainer
 *   spec.c    what every worker is like, read once
 *   worker.c  one worker: the steps from the fork to the exec
 *   orders.c  what a worker is told before it runs its program
 *   process.c what the program of another component's exec takes over from there
 *   init.c    the loop
 *
 * Numbers of messages and records are shared with the Go side:
 * sandbox/worker/protocol.go; a test compares them.
 */
#ifndef BULKHEAD_INIT_H
#define BULKHEAD_INIT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <linux/filter.h>

/* Descriptors that the builder leaves open for the init. */
enum { CONTROL_FD = 3, SPEC_FD = 4 };

/* Messages; the first four bytes of a packet. */
enum {
	MSG_HELLO = 1,    /* init -> monitor, control: u32 landlock abi */
	MSG_SPAWN = 2,    /* monitor -> init, control: u32 worker, u32 whether it is for an exec; worker socket, a file to enter each cgroup by ... */
	MSG_SPAWNED = 3,  /* init -> monitor, control: u32 worker, u32 errno; pidfd of the worker's own init */
	MSG_FDS = 4,      /* monitor -> worker: u32 count, u32 numbers ...; descriptors */
	MSG_COMMAND = 5,  /* monitor -> worker: path and arguments instead of the spec's, each ended by a zero byte */
	MSG_GO = 6,       /* monitor -> worker: as MSG_FDS, then environment strings to add, each ended by a zero byte */
	MSG_STARTED = 7,  /* worker -> monitor: u32 notes; pidfd of the program, seccomp listener */
	MSG_FAILED = 8,   /* worker -> monitor: u32 errno, text of the step */
	MSG_ENDED = 9,    /* worker -> monitor: u32 wait status, u64 us of processor, u64 peak bytes, u64 whether it leaves processes */
	MSG_PROCESS = 10, /* monitor -> worker: a sealed file with a struct process_header and its strings */
	MSG_STOPPED = 11, /* worker -> monitor: u32 wait status of a program that was stopped or goes on */
	MSG_PID = 12,     /* monitor -> worker of an exec, first of all: u32 pid of its program */
};

/* Notes of MSG_STARTED: what could not be as the exec would have had it. */
enum {
	NOTE_DIRECTORY = 1, /* the working directory is not there */
	NOTE_PID = 2,       /* the pid was taken */
};

/* Records of the spec: u16 tag, u16 zero, u32 length, then the payload. */
enum {
	SPEC_ARGUMENT = 1,      /* string */
	SPEC_ENVIRONMENT = 2,   /* string */
	SPEC_PROGRAM = 3,       /* string */
	SPEC_DIRECTORY = 4,     /* string */
	SPEC_IDS = 5,           /* u32 uid, u32 gid, u32 umask, u32 set groups, u32 groups ... */
	SPEC_RLIMIT = 6,        /* u32 resource, u32 zero, u64 soft, u64 hard */
	SPEC_FILTER = 7,        /* struct sock_filter ... */
	SPEC_TEMPORARY = 8,     /* u64 bytes, u32 mode, u32 access to landlock, string */
	SPEC_PROC = 9,          /* u32: 1 none, 2 own, 3 full */
	SPEC_LANDLOCK = 10,     /* u64 fs, u64 net, u64 scoped; u32 attribute size, u32 zero */
	SPEC_LANDLOCK_PATH = 11,/* u64 access, string */
	SPEC_CAPABILITIES = 12, /* u64 kept */
	SPEC_PROC_ACCESS = 13,  /* u64 landlock access to the worker's own /proc */
	SPEC_BACKGROUND = 14,   /* nothing: the program puts itself into the background */
	SPEC_FILTER_EARLY = 15, /* nothing: the filter allows what following the orders takes */
};

enum {
	MAX_ARGUMENTS = 4096,
	MAX_ENVIRONMENT = 4096,
	MAX_ADDED_ENVIRONMENT = 64,
	MAX_GROUPS = 64,
	MAX_RLIMITS = 16,
	MAX_TEMPORARY = 32,
	MAX_PATHS = 1024,
	MAX_PASSED = 512,   /* descriptors of one worker */
	OWN_FDS = 256,        /* where descriptors of the init's own begin */
	MAX_NUMBER = 65536, /* highest descriptor number plus one */
};

/* What MSG_PROCESS describes: a process as execve(2) would have left it. All
 * of it is bounded by the monitor; strings follow, each ended by a zero byte:
 * the program, the directory, the arguments, the environment. */
enum { PROCESS_LIMITS = 16 };
struct process_header {
	uint32_t arguments, environment; /* how many strings */
	uint32_t umask;                  /* NO_UMASK: the spec's */
	int32_t nice;
	uint64_t blocked, ignored;       /* signals, bit 0 is signal 1 */
	uint64_t limits[PROCESS_LIMITS][2]; /* by resource: soft, hard */
};
enum { NO_UMASK = 0xffff };

struct rlimit_rule { int resource; struct rlimit value; };
struct temporary { uint64_t bytes; uint32_t mode; const char *target; uint64_t access; };
struct landlock_path { uint64_t access; int fd; };

struct spec {
	const char *program, *directory;
	/* The tables point at the room below until MSG_PROCESS brings its own. */
	char **arguments;
	int argument_count;
	char **environment;
	int environment_count, environment_room;
	char *argument_room[MAX_ARGUMENTS + 1];
	/* room at the end for what MSG_GO adds */
	char *variable_room[MAX_ENVIRONMENT + MAX_ADDED_ENVIRONMENT + 1];
	uint32_t uid, gid, umask, set_groups, group_count, groups[MAX_GROUPS];
	struct rlimit_rule rlimits[MAX_RLIMITS];
	int rlimit_count;
	struct sock_fprog filter;
	int filter_early;
	struct temporary temporary[MAX_TEMPORARY];
	int temporary_count;
	uint32_t proc;
	uint64_t proc_access;
	int landlock;                /* whether there is a ruleset at all */
	uint64_t landlock_attr[3];   /* struct landlock_ruleset_attr: fs, net, scoped */
	size_t landlock_attr_size;
	struct landlock_path paths[MAX_PATHS];
	int path_count;
	uint64_t capabilities;
	int background;              /* the worker is there as long as anything of it */
	const struct process_header *process; /* NULL without MSG_PROCESS */
};

/* Moves into the root, gives the namespaces that this process is in their
 * settings, and sheds rights. Returns NULL, or the step that failed, with
 * errno set. */
const char *enter(const char *root, const char *hostname);

/* Reads the spec from SPEC_FD, opens what Landlock rules refer to. Returns 0,
 * or -1 with errno set and *what naming the step. */
int spec_read(struct spec *s, const char **what);

/* Runs one worker in the child of the init; never returns. cgroups are
 * descriptors of cgroup.procs files. The program of an exec gets the pid that
 * its caller knows, and what it leaves behind may go on. */
_Noreturn void worker_run(struct spec *s, int executed, int socket, const int *cgroups, int cgroup_count);

/* Waits for the monitor's orders and carries them out: descriptors stand at
 * their numbers, all others close at the exec, *socket and *listener, if there
 * is one, are out of the way. The filter may be loaded already: whatever is
 * called here stands in sandbox/compartment/early.go, too. Returns 0; ORDERS_NONE
 * when the monitor closed the socket instead; -1 with errno set and *step naming
 * what failed. */
enum { ORDERS_NONE = 1 };
int orders_follow(struct spec *s, int *socket, int *listener, const char **step);

/* Takes the program, its arguments and what it inherits out of a file, which
 * is closed. Returns 0, or -1 with errno set. */
int process_read(struct spec *s, int fd);

/* Gives the calling process what the file said: the working directory, the
 * umask, limits that are never above its own, and the nice value. *notes tells
 * what could not be. Returns 0, or -1 with errno set and *step. */
int process_inherit(const struct spec *s, uint32_t *notes, const char **step);

/* Ignores and blocks the signals that the file says: the last thing before
 * the exec. */
int process_signals(const struct spec *s);

/* Sends one packet with descriptors; returns 0 or -1. */
int message_send(int socket, const void *data, size_t length, const int *fds, int fd_count);

/* Receives one packet of at most size bytes and at most *fd_count
 * descriptors (all close-on-exec). Returns its length, 0 at the end, -1. */
long message_receive(int socket, void *data, size_t size, int *fds, int *fd_count);

#endif
