/* Ways that are newer than most filters, or that nobody thinks of: calls on
 * neighbours by pidfd and number, kernel memory that no limit of the usual ones
 * counts, and code in the kernel that the last years' exploits began in. */
#include "probe.h"

#include <linux/connector.h>
#include <linux/cn_proc.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <linux/nsfs.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#ifndef SYS_listmount
#define SYS_listmount 458 /* Linux 6.8 */
#endif
#ifndef NS_GET_MNTNS_ID
#define NS_GET_MNTNS_ID _IOR(0xb7, 0x5, uint64_t) /* ioctl_nsfs(2), Linux 6.11 */
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447 /* Linux 5.14 */
#endif

#define MEBIBYTE (1024L * 1024L)

static long neighbour(void)
{
	long pid = target_number("PROBE_VICTIM_PID", 0);
	return is_own_process(pid) ? 0 : pid;
}

#define NEED_NEIGHBOUR(pid)      \
	long pid = neighbour();  \
	if (!pid)                \
	return no_target("PROBE_VICTIM_PID")

/* What the launcher's own process 1 has open: sockets to the monitor, listeners
 * of filters. */
static enum verdict init_descriptor(void)
{
	long pid = init_pid();
	if (is_own_process(pid))
		return stopped("process 1 of this pid namespace is the probe");
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return refused("pidfd_open");
	int failure = EBADF;
	for (int number = 0; number < 64; number++) {
		int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
		if (fd >= 0)
			return escaped("has descriptor %d of process %ld", number, pid);
		if (errno != EBADF)
			failure = errno;
	}
	return stopped("pidfd_getfd: %s", errno_name(failure));
}

static enum verdict advise_neighbour(void)
{
	NEED_NEIGHBOUR(pid);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		return refused("pidfd_open");
	/* An empty range: the right is asked for first. */
	struct iovec nothing = { NULL, 0 };
	long got = syscall(SYS_process_madvise, pidfd, &nothing, 1, MADV_COLD, 0);
	return got < 0 ? refused("process_madvise") : escaped("may page out the memory of process %ld", pid);
}

static enum verdict locate_pages(void)
{
	NEED_NEIGHBOUR(pid);
	void *page = (void *)0x400000;
	int status = 0;
	if (syscall(SYS_move_pages, pid, 1L, &page, NULL, &status, 0))
		return refused("move_pages");
	return escaped("asked where memory of process %ld lies", pid);
}

static enum verdict robust_list(void)
{
	NEED_NEIGHBOUR(pid);
	void *head = NULL;
	size_t length;
	if (syscall(SYS_get_robust_list, pid, &head, &length))
		return refused("get_robust_list");
	return escaped("has an address in the memory of process %ld", pid);
}

/* Descriptors that are on their way count nobody's table: a socket in a message in
 * a socket, without end (CVE-2013-4312). */
static enum verdict in_flight(void)
{
	long limit = 2 * target_number("PROBE_LIMIT_DESCRIPTORS", 1024), sent = 0;
	int carrier[2], failure = 0;

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, carrier))
		return refused("socketpair");
	while (sent <= limit) {
		int fds[64];
		union { struct cmsghdr header; char space[CMSG_SPACE(sizeof fds)]; } control = { 0 };
		struct iovec byte = { "x", 1 };
		struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
		int next[2];

		for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
			fds[i] = i ? dup(fds[0]) : memfd_create("probe", 0);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof fds);
		memcpy(CMSG_DATA(&control.header), fds, sizeof fds);
		ssize_t done = sendmsg(carrier[0], &message, MSG_DONTWAIT);
		failure = errno;
		for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
			close(fds[i]);
		if (done == 1) {
			sent += sizeof fds / sizeof fds[0];
			continue;
		}
		if (failure != EAGAIN || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, next))
			break;
		/* That one is full, and stays open: its descriptors are alive in it. */
		carrier[0] = next[0], carrier[1] = next[1];
	}
	if (sent > limit)
		return escaped("%ld descriptors on their way", sent);
	return stopped("%ld descriptors on their way, then %s", sent, errno_name(failure));
}

/* Each timer is a piece of kernel memory. */
static enum verdict timers(void)
{
	long limit = target_number("PROBE_LIMIT_TIMERS", 20000), made = 0;
	struct sigevent none = { .sigev_notify = SIGEV_NONE };
	timer_t timer;

	while (made <= limit && !timer_create(CLOCK_MONOTONIC, &none, &timer))
		made++;
	if (made > limit)
		return escaped("%ld timers", made);
	return stopped("%ld timers, then %s", made, errno_name(errno));
}

/* Pages that the kernel itself cannot see, and cannot take back. */
static enum verdict secret_memory(void)
{
	long limit = target_number("PROBE_LIMIT_LOCKED", 16 * MEBIBYTE);
	size_t size = (size_t)limit + MEBIBYTE;
	int fd = (int)syscall(SYS_memfd_secret, 0);
	if (fd < 0)
		return refused("memfd_secret");
	if (ftruncate(fd, (off_t)size))
		return refused("ftruncate");
	char *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (block == MAP_FAILED)
		return refused("mmap");
	for (size_t at = 0; at < size; at += 4096)
		block[at] = 1;
	return escaped("%ld MiB where %ld are allowed", limit / MEBIBYTE + 1, limit / MEBIBYTE);
}

/* Generic netlink: dozens of families behind one door (taskstats, ethtool, nl80211). */
static enum verdict generic_netlink(void)
{
	struct {
		struct nlmsghdr header;
		struct genlmsghdr generic;
	} request = { { sizeof request, GENL_ID_CTRL, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { CTRL_CMD_GETFAMILY, 1, 0 } };
	char answer[8192];
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);

	if (fd < 0)
		return refused("socket(NETLINK_GENERIC)");
	give_up_in_time(fd);
	if (send(fd, &request, sizeof request, 0) < 0)
		return refused("send");
	if (recv(fd, answer, sizeof answer, 0) <= (ssize_t)sizeof request)
		return refused("recv");
	return escaped("asks the kernel's families of generic netlink");
}

/* Every fork, exec and exit of the machine. */
static enum verdict process_events(void)
{
	struct {
		struct nlmsghdr header;
		struct cn_msg message;
		enum proc_cn_mcast_op what;
	} __attribute__((packed)) request = { .header = { sizeof request, NLMSG_DONE, 0, 1, 0 },
		.message = { .id = { CN_IDX_PROC, CN_VAL_PROC }, .len = sizeof(enum proc_cn_mcast_op) }, .what = PROC_CN_MCAST_LISTEN };
	struct sockaddr_nl group = { .nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC };
	char answer[1024];
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_CONNECTOR);

	if (fd < 0)
		return refused("socket(NETLINK_CONNECTOR)");
	give_up_in_time(fd);
	if (bind(fd, (struct sockaddr *)&group, sizeof group))
		return refused("bind");
	if (send(fd, &request, sizeof request, 0) < 0)
		return refused("send");
	if (recv(fd, answer, sizeof answer, 0) < 0)
		return refused("recv");
	return escaped("hears of every process of the machine");
}

/* Urgent data on a unix socket, which no program needs: a renderer's way out of
 * Chrome's sandbox. */
static enum verdict urgent_data(void)
{
	int pair[2];
	char byte;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return refused("socketpair");
	if (send(pair[0], "x", 1, MSG_OOB) != 1)
		return refused("send(MSG_OOB)");
	if (recv(pair[1], &byte, 1, MSG_OOB) != 1)
		return refused("recv(MSG_OOB)");
	return escaped("moved urgent data over a unix socket");
}

struct list_mounts_request { uint32_t size, spare; uint64_t id, parameter, namespace; };

/* The mounts of another mount namespace, by its number (Linux 6.11). */
static enum verdict foreign_mounts(void)
{
	uint64_t found[16], namespace;
	struct list_mounts_request request = { .size = sizeof request, .id = UINT64_MAX /* LSMT_ROOT */ };
	char path[64];

	NEED_NEIGHBOUR(pid);
	snprintf(path, sizeof path, "/proc/%ld/ns/mnt", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return refused("open the neighbour's mount namespace");
	if (ioctl(fd, NS_GET_MNTNS_ID, &namespace))
		return refused("NS_GET_MNTNS_ID");
	request.namespace = namespace;
	if (syscall(SYS_listmount, &request, found, 16L, 0L) <= 0)
		return refused("listmount");
	return escaped("lists a neighbour's mounts");
}

static const struct probe recent_probes[] = {
	{ "init-getfd", "copy a descriptor of process 1, which is the launcher's", "pidfd_getfd(2)", "seccomp, not dumpable", init_descriptor },
	{ "process-madvise", "page out a neighbour's memory", "process_madvise(2)", "pid namespace, seccomp", advise_neighbour },
	{ "move-pages", "ask where a neighbour's memory lies", "move_pages(2), CVE-2017-14140", "pid namespace, seccomp", locate_pages },
	{ "robust-list", "learn an address in a neighbour's memory", "get_robust_list(2)", "pid namespace, seccomp", robust_list },
	{ "foreign-mounts", "list the mounts of another mount namespace", "listmount(2)", "pid namespace, seccomp", foreign_mounts },
	{ "flood-in-flight", "keep more descriptors than allowed on their way", "unix(7), CVE-2013-4312", "limits", in_flight },
	{ "flood-timers", "make more timers than allowed", "timer_create(2)", "limits", timers },
	{ "flood-secret-memory", "lock more memory than allowed by secret memory", "memfd_secret(2)", "seccomp, limits", secret_memory },
	{ "netlink-generic", "ask generic netlink", "genetlink, kernel documentation", "seccomp", generic_netlink },
	{ "netlink-connector", "hear of every process of the machine", "cn_proc, kernel documentation", "seccomp", process_events },
	{ "CVE-2025-38236", "send urgent data over a unix socket", "CVE-2025-38236", "seccomp", urgent_data },
};
THEME(recent);
