// Proves what the lane promises of its kernel, by using it. Built twice by the self-test, static
// and dynamic, so that both kinds of program are proved to run too.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what) {
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void landlock(void) {
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (abi < 1) fail("landlock_create_ruleset");
	printf("landlock abi %ld\n", abi);
}

// A child's getppid(2) is answered by its parent. They share descriptors, so that the listener
// needs no passing.
static void user_notification(void) {
	volatile int *listener = mmap(NULL, sizeof *listener, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (listener == MAP_FAILED) fail("mmap");
	*listener = -1;
	pid_t child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0UL);
	if (child < 0) fail("clone");
	if (child == 0) {
		struct sock_filter filter[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("no_new_privs");
		long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
		if (fd < 0) fail("seccomp with WAIT_KILLABLE_RECV");
		*listener = fd;
		_exit(syscall(SYS_getppid) == 4242 ? 0 : 1);
	}
	while (*listener < 0) {
		if (waitpid(child, NULL, WNOHANG) == child) exit(1);
		usleep(1000);
	}
	struct seccomp_notif request = {0};
	if (ioctl(*listener, SECCOMP_IOCTL_NOTIF_RECV, &request)) fail("NOTIF_RECV");
	struct seccomp_notif_resp answer = {.id = request.id, .val = 4242};
	if (ioctl(*listener, SECCOMP_IOCTL_NOTIF_SEND, &answer)) fail("NOTIF_SEND");
	int status;
	if (waitpid(child, &status, 0) != child || status) {
		fprintf(stderr, "probe: the child did not get the monitor's answer\n");
		exit(1);
	}
	printf("seccomp user notification answered\n");
}

static void user_namespace(void) {
	if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP))
		fail("unshare all namespaces");
	// Without a map every id is the overflow id: the namespace is really a new one.
	if (getuid() != 65534) fail("ids in the new user namespace");
	printf("user namespace with all others made\n");
}

int main(void) {
	landlock();
	user_notification();
	uid_t uid = getuid();
	user_namespace();
	printf("probe complete as uid %d\n", (int)uid);
	return 0;
}
