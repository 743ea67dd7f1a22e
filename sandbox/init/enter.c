/* The last part of making a compartment, from inside its new namespaces, for
 * the one process of the broker's own that has one: the supervisor. For
 * components libcontainer does this, in the same order.
 */
#define _GNU_SOURCE
#include "init.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/mount.h>

/* What no cgroup limits, counted for each user namespace (namespaces(7),
 * inotify(7)). Only whoever has all rights in it may write these. */
static const struct { const char *file, *value; } settings[] = {
	{ "/proc/sys/user/max_user_namespaces", "0" },
	{ "/proc/sys/user/max_inotify_instances", "64" },
	{ "/proc/sys/user/max_inotify_watches", "8192" },
};

/* What the init needs to make namespaces and mounts for workers and to become
 * their user. They mean nothing outside of its own user namespace. */
#define BIT(capability) (1u << (capability))
static const unsigned kept = BIT(CAP_SYS_ADMIN) | BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_SETPCAP) | BIT(CAP_DAC_OVERRIDE);

static int setting(const char *file, const char *value)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	long written = write(fd, value, strlen(value));
	close(fd);
	return written == (long)strlen(value) ? 0 : -1;
}

/* The root becomes a mount that this namespace may move: those that it
 * inherited are locked in their places (mount_namespaces(7)). */
static const char *move_into(const char *root)
{
	struct mount_attr sealed = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
	char proc[4096];

	if (mount(root, root, NULL, MS_BIND | MS_REC, NULL) < 0)
		return "make the root a mount";
	if (snprintf(proc, sizeof proc, "%s/proc", root) >= (int)sizeof proc) {
		errno = ENAMETOOLONG;
		return "find /proc of the root";
	}
	/* While the host's is visible: the kernel demands it. */
	if (mount("proc", proc, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return "mount /proc";
	if (chdir(root) < 0)
		return "enter the root";
	/* The old root comes to lie over the new one, and goes (pivot_root(2)). */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return "change the root";
	if (umount2(".", MNT_DETACH) < 0)
		return "let go of the host's root";
	if (chdir("/") < 0)
		return "enter the root";
	/* Added to what the mount was made with, which is locked and which mount(2)
	 * would have to be told again: a /run may be noexec. */
	if (syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &sealed, sizeof sealed) < 0)
		return "make the root read-only";
	return NULL;
}

const char *enter(const char *root, const char *hostname)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { kept, kept, 0 }, { 0, 0, 0 } };
	const char *failed;

	/* Nothing of the host's but what the builder passes on; not even the
	 * program that this is. */
	if (syscall(SYS_close_range, SPEC_FD + 1, ~0U, 0) < 0)
		return "close descriptors";
	umask(022);
	/* Both have the slack of timers that whoever started the application has,
	 * but for the supervisor, a Go program; see sandbox/compartment/late.c. */
	if (prctl(PR_SET_TIMERSLACK, 1000000, 0, 0, 0) < 0)
		return "set the slack of timers";
	/* No key of whoever started the application. A kernel may have none. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		return "make a session keyring";
	/* Now that this process is in its cgroup. */
	if (unshare(CLONE_NEWCGROUP) < 0)
		return "make a cgroup namespace";
	if ((failed = move_into(root)))
		return failed;
	if (sethostname(hostname, strlen(hostname)) < 0)
		return "set the host name";
	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
		if (setting(settings[i].file, settings[i].value) < 0)
			return settings[i].file;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return "set no_new_privs";
	if (syscall(SYS_capset, &header, data) < 0)
		return "drop capabilities";
	return NULL;
}
