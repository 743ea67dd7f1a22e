/* System V and POSIX objects, shared memory files and keys of a neighbour. */
#include "probe.h"

#include <linux/keyctl.h>
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/shm.h>

static enum verdict sysv_memory(void)
{
	key_t key = (key_t)target_number("PROBE_IPC_KEY", 0);
	if (!key)
		return no_target("PROBE_IPC_KEY");
	int segment = shmget(key, 0, 0);
	if (segment < 0)
		return refused("shmget");
	const char *memory = shmat(segment, NULL, SHM_RDONLY);
	if (memory == (const char *)-1)
		return refused("shmat");
	int found = !memcmp(memory, MARKER, strlen(MARKER));
	shmdt(memory);
	return found ? escaped("read a neighbour's shared memory") : stopped("another segment");
}

static enum verdict sysv_messages(void)
{
	struct {
		long type;
		char text[128];
	} message;
	key_t key = (key_t)target_number("PROBE_IPC_KEY", 0);

	if (!key)
		return no_target("PROBE_IPC_KEY");
	int queue = msgget(key, 0);
	if (queue < 0)
		return refused("msgget");
	ssize_t length = msgrcv(queue, &message, sizeof message.text, 0, IPC_NOWAIT);
	if (length < 0)
		return refused("msgrcv");
	msgsnd(queue, &message, (size_t)length, IPC_NOWAIT); /* for the next probe */
	return memcmp(message.text, MARKER, strlen(MARKER)) ? stopped("another queue")
							    : escaped("took a message out of a neighbour's queue");
}

static enum verdict posix_queue(void)
{
	char text[64];
	const char *name = target("PROBE_QUEUE");

	if (!name)
		return no_target("PROBE_QUEUE");
	mqd_t queue = mq_open(name, O_RDWR | O_NONBLOCK);
	if (queue == (mqd_t)-1)
		return refused("mq_open");
	if (mq_receive(queue, text, sizeof text, NULL) < 0)
		return refused("mq_receive");
	mq_send(queue, text, sizeof text, 0); /* for the next probe */
	return memcmp(text, MARKER, strlen(MARKER)) ? stopped("another queue")
						    : escaped("took a message out of a neighbour's POSIX queue");
}

static enum verdict shared_memory_file(void)
{
	const char *path = target("PROBE_SHM_FILE");
	if (!path)
		return no_target("PROBE_SHM_FILE");
	return read_secret(open(path, O_RDONLY | O_CLOEXEC), "/dev/shm");
}

/* Keyrings belong to users, not to any namespace but the user's. */
static enum verdict key_of_user(void)
{
	char text[128];
	const char *name = target("PROBE_KEY");

	if (!name)
		return no_target("PROBE_KEY");
	long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", name, 0);
	if (key < 0)
		return refused("keyctl(SEARCH)");
	if (syscall(SYS_keyctl, KEYCTL_READ, key, text, sizeof text) < 0)
		return refused("keyctl(READ)");
	return memcmp(text, MARKER, strlen(MARKER)) ? stopped("another key") : escaped("read a neighbour's key");
}

static enum verdict add_a_key(void)
{
	long ring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, "bulkhead-probe");
	if (ring < 0)
		return refused("keyctl(JOIN_SESSION_KEYRING)");
	long key = syscall(SYS_add_key, "user", "bulkhead-probe", "x", 1, KEY_SPEC_SESSION_KEYRING);
	return key < 0 ? refused("add_key") : escaped("made a session keyring and a key in kernel memory");
}

static enum verdict list_keys(void)
{
	char line[512];
	const char *name = target("PROBE_KEY");
	enum verdict verdict = stopped("/proc/keys without a neighbour's key");

	if (!name)
		return no_target("PROBE_KEY");
	FILE *keys = fopen("/proc/keys", "re");
	if (!keys)
		return refused("/proc/keys");
	while (fgets(line, sizeof line, keys))
		if (strstr(line, name))
			verdict = escaped("found a neighbour's key in /proc/keys");
	fclose(keys);
	return verdict;
}

static const struct probe ipc_probes[] = {
	{ "sysv-shared-memory", "read a neighbour's System V shared memory", "sysvipc(7)", "ipc namespace",
	  sysv_memory },
	{ "sysv-messages", "take a message from a neighbour's System V queue", "sysvipc(7)", "ipc namespace",
	  sysv_messages },
	{ "posix-queue", "take a message from a neighbour's POSIX queue", "mq_overview(7)", "ipc namespace",
	  posix_queue },
	{ "dev-shm", "read a neighbour's POSIX shared memory", "shm_overview(7)", "mount namespace",
	  shared_memory_file },
	{ "user-keyring", "read a key of the same user outside", "keyrings(7)", "seccomp, user namespace",
	  key_of_user },
	{ "CVE-2016-0728", "make keyrings and keys in kernel memory", "CVE-2016-0728", "seccomp", add_a_key },
	{ "proc-keys", "find a neighbour's key in /proc/keys", "proc(5)", "mount namespace, user", list_keys },
};
THEME(ipc);
