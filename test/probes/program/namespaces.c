/* Namespaces: new ones (each opens kernel code that an ordinary process cannot
 * reach), those of others, and whether the host's are still ours. */
#include "probe.h"

#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static enum verdict unshared(int flag, const char *what)
{
	if (unshare(flag))
		return refused("unshare");
	return escaped("made a new %s namespace", what);
}

static enum verdict unshare_user(void)
{
	if (unshare(CLONE_NEWUSER))
		return refused("unshare");
	if (!has_capability(CAP_SYS_ADMIN))
		return stopped("a user namespace without capabilities");
	return escaped("all capabilities in a new user namespace");
}

static enum verdict unshare_mount(void) { return unshared(CLONE_NEWNS, "mount"); }
static enum verdict unshare_net(void) { return unshared(CLONE_NEWNET, "network"); }
static enum verdict unshare_ipc(void) { return unshared(CLONE_NEWIPC, "ipc"); }
static enum verdict unshare_uts(void) { return unshared(CLONE_NEWUTS, "uts"); }
static enum verdict unshare_pid(void) { return unshared(CLONE_NEWPID, "pid"); }
static enum verdict unshare_cgroup(void) { return unshared(CLONE_NEWCGROUP, "cgroup"); }
static enum verdict unshare_time(void) { return unshared(CLONE_NEWTIME, "time"); }

/* What the child of a clone found out, by its exit status. */
static enum verdict cloned(long pid, const char *call)
{
	if (pid < 0)
		return refused(call);
	if (pid == 0)
		_exit(has_capability(CAP_SYS_ADMIN) ? 42 : 43);
	if (wait_for((pid_t)pid) == 42)
		return escaped("%s gave a child all capabilities in its user namespace", call);
	return stopped("%s gave a child without capabilities", call);
}

static enum verdict clone_user(void)
{
	return cloned(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), "clone");
}

/* A filter cannot see the flags of clone3 as they lie in memory: it must refuse
 * the call as a whole, with ENOSYS so that programs fall back to clone. */
static enum verdict clone3_user(void)
{
	struct clone_args arguments = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
	return cloned(syscall(SYS_clone3, &arguments, sizeof arguments), "clone3");
}

static enum verdict clone3_chosen_pid(void)
{
	pid_t wanted[] = { 30000 + getpid() % 2000 };
	struct clone_args arguments = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)wanted, .set_tid_size = 1 };
	long pid;

	/* A pid that is in use is no refusal: the next may be free. */
	for (int i = 0; i < 100; i++, wanted[0]++) {
		pid = syscall(SYS_clone3, &arguments, sizeof arguments);
		if (pid >= 0 || errno != EEXIST)
			break;
	}
	if (pid < 0)
		return refused("clone3");
	if (pid == 0)
		_exit(0);
	wait_for((pid_t)pid);
	if (pid != wanted[0])
		return stopped("clone3 chose another pid");
	return escaped("a child with the chosen pid %ld: stale pids can be imitated", pid);
}

static enum verdict clone3_into_cgroup(void)
{
	static const char *const roots[] = { "/sys/fs/cgroup/unified", "/sys/fs/cgroup" };
	enum verdict verdict = STOPPED;

	for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++) {
		int directory = open(roots[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (directory < 0) {
			verdict = refused(roots[i]);
			continue;
		}
		struct clone_args arguments = { .flags = CLONE_INTO_CGROUP,
						.exit_signal = SIGCHLD,
						.cgroup = (uint64_t)directory };
		long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
		if (pid == 0)
			_exit(0);
		if (pid > 0) {
			wait_for((pid_t)pid);
			return escaped("a child in the cgroup %s, past the limits of this one", roots[i]);
		}
		verdict = refused("clone3");
		close(directory);
	}
	return verdict;
}

static enum verdict enter_and_read(int fd, int flags, const char *way)
{
	const char *secret = target("PROBE_HOST_SECRET");

	if (!secret)
		return no_target("PROBE_HOST_SECRET");
	if (setns(fd, flags))
		return refused(way);
	return read_secret(open(secret, O_RDONLY | O_CLOEXEC), way);
}

static enum verdict setns_by_path(void)
{
	char path[64];
	long pid = target_number("PROBE_VICTIM_PID", 0);

	if (!pid)
		return no_target("PROBE_VICTIM_PID");
	snprintf(path, sizeof path, "/proc/%ld/ns/mnt", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return refused(path);
	return enter_and_read(fd, CLONE_NEWNS, "setns");
}

static enum verdict setns_by_pidfd(void)
{
	long pid = target_number("PROBE_VICTIM_PID", 0);

	if (!pid)
		return no_target("PROBE_VICTIM_PID");
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return refused("pidfd_open");
	return enter_and_read(fd, CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC, "setns(pidfd)");
}

static enum verdict setns_of_init(void)
{
	char path[64];

	if (is_own_process(init_pid()))
		return stopped("process 1 of this pid namespace is the probe");
	snprintf(path, sizeof path, "/proc/%ld/ns/mnt", init_pid());
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return refused(path);
	return enter_and_read(fd, CLONE_NEWNS, "setns");
}

/* nsfs file handles (Linux 6.18) name a namespace without any path to it. */
static enum verdict nsfs_handle(void)
{
	enum { FD_NSFS_ROOT = -10003 };
	struct file_handle *handle = target_handle("PROBE_NETNS_HANDLE");

	if (!handle)
		return no_target("PROBE_NETNS_HANDLE");
	int fd = open_by_handle_at(FD_NSFS_ROOT, handle, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return refused("open_by_handle_at");
	struct stat status;
	if (fstat(fd, &status) || (long)status.st_ino != target_number("PROBE_HOST_NET", 0))
		return stopped("a descriptor of another namespace");
	return escaped("a descriptor of the host's network namespace by its number");
}

/* The inode of one of our namespaces. /proc may be missing in a compartment, so
 * a pidfd of ourselves is asked when the path does not answer (Linux 6.11). */
static long own_namespace(const char *name, unsigned pidfd_request)
{
	char path[64];
	struct stat status;

	snprintf(path, sizeof path, "/proc/self/ns/%s", name);
	if (!stat(path, &status))
		return (long)status.st_ino;
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (self < 0)
		return -1;
	int fd = ioctl(self, pidfd_request);
	close(self);
	if (fd < 0)
		return -1;
	int failed = fstat(fd, &status);
	close(fd);
	return failed ? -1 : (long)status.st_ino;
}

static enum verdict shared_with_host(const char *name, const char *key, unsigned number)
{
	long host = target_number(key, 0);

	if (!host)
		return no_target(key);
	/* linux/pidfd.h: PIDFD_GET_CGROUP_NAMESPACE is _IO(0xFF, 1), the rest follow. */
	long own = own_namespace(name, _IO(0xFF, number));
	if (own < 0)
		return untested("own %s namespace: %s", name, errno_name(errno));
	if (own == host)
		return escaped("runs in the host's %s namespace", name);
	return stopped("a %s namespace of its own", name);
}

static enum verdict shared_cgroup(void) { return shared_with_host("cgroup", "PROBE_HOST_CGROUP", 1); }
static enum verdict shared_ipc(void) { return shared_with_host("ipc", "PROBE_HOST_IPC", 2); }
static enum verdict shared_mount(void) { return shared_with_host("mnt", "PROBE_HOST_MNT", 3); }
static enum verdict shared_net(void) { return shared_with_host("net", "PROBE_HOST_NET", 4); }
static enum verdict shared_pid(void) { return shared_with_host("pid", "PROBE_HOST_PID", 5); }
static enum verdict shared_uts(void) { return shared_with_host("uts", "PROBE_HOST_UTS", 10); }

static const struct probe namespaces_probes[] = {
	{ "unshare-user", "get all capabilities in a new user namespace", "unshare(2)", "seccomp", unshare_user },
	{ "unshare-mount", "make a new mount namespace", "unshare(2)", "seccomp, capabilities", unshare_mount },
	{ "unshare-net", "make a new network namespace", "unshare(2)", "seccomp, capabilities", unshare_net },
	{ "unshare-ipc", "make a new ipc namespace", "unshare(2)", "seccomp, capabilities", unshare_ipc },
	{ "unshare-uts", "make a new uts namespace", "unshare(2)", "seccomp, capabilities", unshare_uts },
	{ "unshare-pid", "make a new pid namespace", "unshare(2)", "seccomp, capabilities", unshare_pid },
	{ "unshare-cgroup", "make a new cgroup namespace", "unshare(2)", "seccomp, capabilities", unshare_cgroup },
	{ "unshare-time", "make a new time namespace", "unshare(2)", "seccomp, capabilities", unshare_time },
	{ "clone-user", "make a child in a new user namespace by clone", "clone(2)", "seccomp", clone_user },
	{ "clone3-user", "make a child in a new user namespace by clone3, whose flags no filter sees", "clone(2)",
	  "seccomp", clone3_user },
	{ "clone3-chosen-pid", "make a child with a chosen pid", "clone(2)", "seccomp, capabilities",
	  clone3_chosen_pid },
	{ "clone3-into-cgroup", "make a child in a cgroup without limits", "clone(2)", "seccomp, mount namespace",
	  clone3_into_cgroup },
	{ "setns-path", "enter a neighbour's mount namespace by /proc/PID/ns", "setns(2)", "pid namespace, seccomp",
	  setns_by_path },
	{ "setns-pidfd", "enter a neighbour's namespaces by a pidfd", "setns(2)", "pid namespace, seccomp",
	  setns_by_pidfd },
	{ "setns-init", "enter the mount namespace of process 1", "setns(2)", "seccomp, capabilities", setns_of_init },
	{ "nsfs-handle", "open the host's network namespace by a file handle", "Linux 6.18", "seccomp, capabilities",
	  nsfs_handle },
	{ "host-mount-namespace", "stand in the host's mount namespace", "mount_namespaces(7)", "mount namespace",
	  shared_mount },
	{ "host-pid-namespace", "stand in the host's pid namespace", "pid_namespaces(7)", "pid namespace", shared_pid },
	{ "host-net-namespace", "stand in the host's network namespace", "network_namespaces(7)", "network namespace",
	  shared_net },
	{ "host-ipc-namespace", "stand in the host's ipc namespace", "ipc_namespaces(7)", "ipc namespace", shared_ipc },
	{ "host-uts-namespace", "stand in the host's uts namespace", "uts_namespaces(7)", "uts namespace", shared_uts },
	{ "host-cgroup-namespace", "stand in the host's cgroup namespace", "cgroup_namespaces(7)", "cgroup namespace",
	  shared_cgroup },
};
THEME(namespaces);
