/* The neighbour: a process outside with a secret in its memory, its environment,
 * its descriptors, its System V and POSIX objects and its keyring. It lives until
 * its standard input ends, so it goes away with whoever started it. */
#include "probe.h"

#include <linux/keyctl.h>
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/shm.h>

static char cell[64] = MARKER " in memory";

int be_victim(void)
{
	const char *secret = target("PROBE_HOST_SECRET");
	const char *queue_name = target("PROBE_QUEUE");
	const char *key_name = target("PROBE_KEY");
	key_t ipc_key = (key_t)target_number("PROBE_IPC_KEY", 0);
	if (!secret || !queue_name || !key_name || !ipc_key) {
		fprintf(stderr, "probe victim: PROBE_HOST_SECRET, PROBE_QUEUE, PROBE_KEY and PROBE_IPC_KEY are needed\n");
		return 64;
	}
	prctl(PR_SET_NAME, "probe-victim");
	signal(SIGUSR1, SIG_IGN);
	signal(SIGURG, SIG_IGN);

	int fd = open(secret, O_RDONLY | O_CLOEXEC);
	int shared = shmget(ipc_key, 4096, IPC_CREAT | IPC_EXCL | 0666);
	char *memory = shared < 0 ? (char *)-1 : shmat(shared, NULL, 0);
	if (memory != (char *)-1)
		strcpy(memory, cell);
	int messages = msgget(ipc_key, IPC_CREAT | IPC_EXCL | 0666);
	struct {
		long type;
		char text[sizeof cell];
	} message = { 1, { 0 } };
	strcpy(message.text, cell);
	if (messages >= 0)
		msgsnd(messages, &message, sizeof message.text, 0);
	struct mq_attr attributes = { .mq_maxmsg = 4, .mq_msgsize = sizeof cell };
	mqd_t queue = mq_open(queue_name, O_CREAT | O_EXCL | O_RDWR, 0666, &attributes);
	if (queue != (mqd_t)-1)
		mq_send(queue, cell, sizeof cell, 0);
	long key = syscall(SYS_add_key, "user", key_name, cell, sizeof cell, KEY_SPEC_USER_KEYRING);
	/* All rights for possessor and user: only the keyring's own reach is tested. */
	if (key >= 0)
		syscall(SYS_keyctl, KEYCTL_SETPERM, key, 0x3f3f0000);

	printf("pid=%d address=%p fd=%d shm=%d msg=%d mq=%d key=%ld\n", (int)getpid(), (void *)cell, fd, shared, messages,
	       (int)queue, key);
	fflush(stdout);

	char byte;
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	if (shared >= 0)
		shmctl(shared, IPC_RMID, NULL);
	if (messages >= 0)
		msgctl(messages, IPC_RMID, NULL);
	mq_unlink(queue_name);
	if (key >= 0) {
		syscall(SYS_keyctl, KEYCTL_REVOKE, key);
		syscall(SYS_keyctl, KEYCTL_UNLINK, key, KEY_SPEC_USER_KEYRING);
	}
	return 0;
}
