/*
 * Published escapes of other launchers that have steps of their own. Those that
 * are one step of another theme stand there under their CVE number.
 *
 * Each takes the road of its original as far as a fixed kernel goes and counts the
 * effect that made the rest possible.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#define FSCONFIG_SET_STRING 1
#define OPEN_TREE_CLONE 1
#define MOVE_MOUNT_F_EMPTY_PATH 4

/* runc, 2025: /dev/null of the container, put in place of a masked file, was
 * bound as something else, or the mask was silently left out. What shows it: a
 * masked file that still has its contents. */
static enum verdict masks_missing(void)
{
	static const char *const masked[] = { "/proc/timer_list", "/proc/keys", "/proc/sched_debug", "/proc/latency_stats",
					      "/proc/kcore" };
	struct stat null;
	char byte;
	int failure = ENOENT;

	if (!stat("/dev/null", &null) && (!S_ISCHR(null.st_mode) || null.st_rdev != makedev(1, 3)))
		return escaped("/dev/null is not the null device");
	for (size_t i = 0; i < sizeof masked / sizeof masked[0]; i++) {
		int fd = open(masked[i], O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			failure = errno;
			continue;
		}
		ssize_t length = read(fd, &byte, 1);
		close(fd);
		if (length > 0)
			return escaped("%s is not masked", masked[i]);
	}
	return stopped("every masked file is empty or gone (%s)", errno_name(failure));
}

/* runc, 2025: /dev/console, bound from a path in the container, led into /proc.
 * Any console but a pseudo terminal of its own counts. */
static enum verdict console(void)
{
	struct stat status;
	int fd = open("/dev/console", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return refused("/dev/console");
	if (fstat(fd, &status))
		return refused("fstat");
	if (!S_ISCHR(status.st_mode))
		return escaped("/dev/console is no device");
	unsigned kind = major(status.st_rdev);
	return kind >= 136 && kind <= 143 ? stopped("/dev/console is a pseudo terminal")
					  : escaped("opened the host's console");
}

/* runc, 2025: writes meant for /proc/self/attr were led to another file of /proc
 * by a mount that the attacker raced in. Can such a mount be made? */
static enum verdict redirected_write(void)
{
	static const char *const attribute = "/proc/self/attr";
	struct statfs status;

	if (own_mount_namespace() && own_user_and_mount_namespace())
		return refused("unshare");
	if (mount("probe", attribute, "tmpfs", 0, NULL))
		return refused("mount");
	if (symlink("/proc/sysrq-trigger", "/proc/self/attr/current"))
		return refused("symlink");
	char leads_to[64] = "";
	ssize_t length = readlink("/proc/self/attr/current", leads_to, sizeof leads_to - 1);
	int there = !statfs(attribute, &status) && length > 0 && !strcmp(leads_to, "/proc/sysrq-trigger");
	umount2(attribute, MNT_DETACH);
	return there ? escaped("writes to /proc/self/attr/current lead to another file")
		     : stopped("the mount had no effect");
}

/* fsconfig with parameters that once wrapped a length, by a user namespace. */
static enum verdict mount_parameters(void)
{
	if (own_user_and_mount_namespace())
		return refused("unshare");
	int context = (int)syscall(SYS_fsopen, "cgroup2", 1);
	if (context < 0)
		return refused("fsopen");
	if (syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "source", "probe", 0))
		return refused("fsconfig");
	return escaped("the kernel parses mount parameters of a user namespace");
}

/* flatpak: mount calls that a list of forbidden calls did not know made another
 * file appear in place of the one that tells who a program is. */
static enum verdict forged_identity(void)
{
	struct clone_args arguments = { .flags = CLONE_NEWUSER | CLONE_NEWNS, .exit_signal = SIGCHLD };
	const char *directory = existing_directory();
	struct stat root, there;

	long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
	if (pid < 0)
		return refused("clone3");
	if (pid == 0) {
		int tree = (int)syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | 0x8000 /* AT_RECURSIVE */);
		if (tree < 0)
			_exit(1);
		if (syscall(SYS_move_mount, tree, "", AT_FDCWD, directory, MOVE_MOUNT_F_EMPTY_PATH))
			_exit(2);
		_exit(!stat("/", &root) && !stat(directory, &there) && root.st_ino == there.st_ino ? 42 : 3);
	}
	int status = wait_for((pid_t)pid);
	if (status == 42)
		return escaped("other files than the launcher's stand in %s", directory);
	return stopped("open_tree or move_mount was refused (step %d)", status);
}

/* firejail: a tree that looks like the launcher's own state, in namespaces that
 * the attacker made; the command that joined it believed what it saw. */
static enum verdict forged_state(void)
{
	const char *directory = existing_directory();
	char path[96];

	if (own_user_and_mount_namespace())
		return refused("unshare");
	if (mount("probe", directory, "tmpfs", 0, NULL))
		return refused("mount");
	snprintf(path, sizeof path, "/proc/self/root%s/sandbox", directory);
	if (mkdir(path, 0755))
		return refused("mkdir");
	umount2(directory, MNT_DETACH);
	return escaped("forged the state of a launcher in namespaces of its own");
}

/* containerd: the shim's control socket was abstract, thus open to every
 * container in the host's network. Found by looking, not by being told. */
static enum verdict found_abstract_socket(void)
{
	char line[512];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	FILE *sockets = fopen("/proc/net/unix", "re");

	if (!sockets)
		return refused("/proc/net/unix");
	while (fgets(line, sizeof line, sockets)) {
		char *name = strstr(line, "@bulkhead-probe");
		if (!name)
			continue;
		name[strcspn(name, "\n")] = 0;
		size_t length = strlen(name + 1);
		if (length >= sizeof address.sun_path)
			continue;
		memcpy(address.sun_path + 1, name + 1, length);
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return refused("socket");
		if (!connect(fd, (struct sockaddr *)&address,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)))
			return read_secret(fd, "an abstract socket found in /proc/net/unix");
		close(fd);
	}
	fclose(sockets);
	return stopped("no abstract socket of others in /proc/net/unix");
}

/* snapd: the peer's address, which the peer chooses, was parsed for its user. */
static enum verdict dirty_address(void)
{
	struct sockaddr_un own = { .sun_family = AF_UNIX }, there = { .sun_family = AF_UNIX };
	const char *path = target("PROBE_UNIX_SOCKET");

	if (!path)
		return no_target("PROBE_UNIX_SOCKET");
	snprintf(there.sun_path, sizeof there.sun_path, "%s", path);
	int length = snprintf(own.sun_path + 1, sizeof own.sun_path - 1, "bulkhead-%d;uid=0;", (int)getpid());
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return refused("socket");
	if (bind(fd, (struct sockaddr *)&own, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)))
		return refused("bind");
	if (connect(fd, (struct sockaddr *)&there, sizeof there))
		return refused("connect");
	return read_secret(fd, "a socket with a forged address");
}

/* Packet rings by a user namespace: three holes of the kernel in four years. */
static enum verdict packet_ring(void)
{
	int version = TPACKET_V3;
	struct tpacket_req3 request = { .tp_block_size = 4096, .tp_block_nr = 2, .tp_frame_size = 2048, .tp_frame_nr = 4 };

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return refused("unshare");
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return refused("socket(AF_PACKET)");
	if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
	    setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request))
		return refused("setsockopt(PACKET_RX_RING)");
	return escaped("made a packet ring in a network of its own");
}

/* Overlay mounts by a user namespace copied up files with rights they should
 * have lost. */
static enum verdict overlay_by_user_namespace(void)
{
	const char *directory = existing_directory();
	char base[64], upper[64], work[64], options[320];

	if (own_user_and_mount_namespace())
		return refused("unshare");
	if (mount("probe", directory, "tmpfs", 0, NULL))
		return refused("mount of tmpfs");
	snprintf(base, sizeof base, "%s/base", directory);
	snprintf(upper, sizeof upper, "%s/upper", directory);
	snprintf(work, sizeof work, "%s/work", directory);
	if (mkdir(base, 0755) || mkdir(upper, 0755) || mkdir(work, 0755))
		return refused("mkdir");
	snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s,userxattr", base, upper, work);
	if (mount("probe", base, "overlay", 0, options))
		return refused("mount of overlay");
	umount2(directory, MNT_DETACH);
	return escaped("mounted an overlay from a user namespace");
}

/* Old tables of the packet filter by a user namespace (xt_compat and others). */
static enum verdict filter_tables_by_user_namespace(void)
{
	struct {
		char name[32];
		unsigned rest[13];
	} info = { .name = "filter" };
	socklen_t length = 84; /* struct ipt_getinfo */

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return refused("unshare");
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (fd < 0)
		return refused("socket(SOCK_RAW)");
	if (getsockopt(fd, IPPROTO_IP, 64 /* IPT_SO_GET_INFO */, &info, &length))
		return refused("getsockopt");
	return escaped("reached the packet filter's tables in a network of its own");
}

static const struct probe published_probes[] = {
	{ "CVE-2025-31133", "find a masked path without its mask", "CVE-2025-31133 (runc)", "mount namespace",
	  masks_missing },
	{ "CVE-2025-52565", "find something else behind /dev/console", "CVE-2025-52565 (runc)", "mount namespace",
	  console },
	{ "CVE-2025-52881", "redirect writes to /proc/self/attr", "CVE-2025-52881 (runc)", "capabilities, seccomp",
	  redirected_write },
	{ "CVE-2022-0185", "reach mount parameters by a user namespace", "CVE-2022-0185", "seccomp",
	  mount_parameters },
	{ "CVE-2021-41133", "replace the file that tells who a program is", "CVE-2021-41133 (flatpak)", "seccomp",
	  forged_identity },
	{ "CVE-2022-31214", "forge the state of a launcher", "CVE-2022-31214 (firejail)", "seccomp", forged_state },
	{ "CVE-2020-15257", "find and use an abstract control socket", "CVE-2020-15257 (containerd)",
	  "network namespace, Landlock", found_abstract_socket },
	{ "CVE-2019-7304", "connect to a control socket with a forged address", "CVE-2019-7304 (snapd)",
	  "mount namespace", dirty_address },
	{ "CVE-2017-7308", "make a packet ring by a user namespace", "CVE-2017-7308, CVE-2020-14386", "seccomp",
	  packet_ring },
	{ "CVE-2023-0386", "mount an overlay by a user namespace", "CVE-2023-0386, CVE-2021-3493", "seccomp",
	  overlay_by_user_namespace },
	{ "CVE-2021-22555", "reach the packet filter's tables by a user namespace", "CVE-2021-22555, CVE-2016-4997",
	  "seccomp", filter_tables_by_user_namespace },
};
THEME(published);
