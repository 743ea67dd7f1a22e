/* System calls that run code in the kernel, look into it, or go round filters. */
#include "probe.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/timex.h>

#ifndef IORING_OP_SOCKET
#define IORING_OP_SOCKET 45
#endif

static enum verdict load_program(void)
{
	struct bpf_insn program[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0 },
				      { .code = BPF_JMP | BPF_EXIT } };
	union bpf_attr attributes = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER };

	attributes.insns = (uintptr_t)program;
	attributes.insn_cnt = 2;
	attributes.license = (uintptr_t)"GPL";
	long fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
	return fd < 0 ? refused("bpf(PROG_LOAD)") : escaped("loaded a BPF program");
}

static enum verdict make_map(void)
{
	union bpf_attr attributes = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1 };
	long fd = syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
	return fd < 0 ? refused("bpf(MAP_CREATE)") : escaped("made a BPF map");
}

static long count_events(pid_t pid, int processor, struct perf_event_attr *attributes)
{
	attributes->size = sizeof *attributes;
	return syscall(SYS_perf_event_open, attributes, pid, processor, -1, PERF_FLAG_FD_CLOEXEC);
}

static enum verdict perf_self(void)
{
	struct perf_event_attr attributes = { .type = PERF_TYPE_SOFTWARE,
					      .config = PERF_COUNT_SW_TASK_CLOCK,
					      .exclude_kernel = 1 };
	uint64_t value;
	int fd = (int)count_events(0, -1, &attributes);

	if (fd < 0)
		return refused("perf_event_open");
	if (read(fd, &value, sizeof value) != sizeof value)
		return refused("read");
	return escaped("counted events of itself");
}

static enum verdict perf_system(void)
{
	struct perf_event_attr attributes = { .type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_CONTEXT_SWITCHES };
	uint64_t value;
	int fd = (int)count_events(-1, 0, &attributes);

	if (fd < 0)
		return refused("perf_event_open");
	if (read(fd, &value, sizeof value) != sizeof value)
		return refused("read");
	return escaped("counted events of every process on processor 0");
}

/* One operation through an io_uring, which no system call filter sees. Returns
 * its result, or a negative errno of the ring itself in *ring_failure. */
static int through_ring(const struct io_uring_sqe *operation, int *ring_failure)
{
	struct io_uring_params parameters = { 0 };
	int ring = (int)syscall(SYS_io_uring_setup, 2, &parameters);

	*ring_failure = 0;
	if (ring < 0) {
		*ring_failure = errno;
		return -1;
	}
	size_t ring_size = parameters.sq_off.array + parameters.sq_entries * sizeof(unsigned);
	size_t completion_size = parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
	if (completion_size > ring_size)
		ring_size = completion_size;
	/* IORING_FEAT_SINGLE_MMAP (Linux 5.4): both rings in one mapping. */
	char *rings = mmap(NULL, ring_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *entries = mmap(NULL, parameters.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE,
					    MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
	if (rings == MAP_FAILED || entries == MAP_FAILED) {
		*ring_failure = errno;
		return -1;
	}
	entries[0] = *operation;
	((unsigned *)(rings + parameters.sq_off.array))[0] = 0;
	__atomic_store_n((unsigned *)(rings + parameters.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) {
		*ring_failure = errno;
		return -1;
	}
	return ((struct io_uring_cqe *)(rings + parameters.cq_off.cqes))[0].res;
}

static enum verdict ring_nop(void)
{
	struct io_uring_sqe nop = { .opcode = IORING_OP_NOP };
	int failure, result = through_ring(&nop, &failure);

	if (failure) {
		errno = failure;
		return refused("io_uring");
	}
	return result ? stopped("the ring answered %s", errno_name(-result)) : escaped("ran an operation by io_uring");
}

static enum verdict ring_open(void)
{
	const char *secret = target("PROBE_HOST_SECRET");
	if (!secret)
		return no_target("PROBE_HOST_SECRET");
	struct io_uring_sqe open_secret = { .opcode = IORING_OP_OPENAT,
					    .fd = AT_FDCWD,
					    .addr = (uintptr_t)secret,
					    .open_flags = O_RDONLY | O_CLOEXEC };
	int failure, result = through_ring(&open_secret, &failure);

	if (failure || result < 0) {
		errno = failure ? failure : -result;
		return refused("openat by io_uring");
	}
	return read_secret(result, "io_uring");
}

static enum verdict ring_connect(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons((uint16_t)target_number("PROBE_TCP_PORT", 0)),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (!address.sin_port)
		return no_target("PROBE_TCP_PORT");
	struct io_uring_sqe make = { .opcode = IORING_OP_SOCKET, .fd = AF_INET, .off = SOCK_STREAM };
	int failure, fd = through_ring(&make, &failure);
	if (failure || fd < 0) {
		errno = failure ? failure : -fd;
		return refused("socket by io_uring");
	}
	struct io_uring_sqe reach = { .opcode = IORING_OP_CONNECT,
				      .fd = fd,
				      .addr = (uintptr_t)&address,
				      .off = sizeof address };
	int result = through_ring(&reach, &failure);
	if (failure || result < 0) {
		errno = failure ? failure : -result;
		return refused("connect by io_uring");
	}
	return read_secret(fd, "socket and connect by io_uring");
}

static enum verdict handshake(int fd, const char *way)
{
	struct uffdio_api api = { .api = UFFD_API };

	if (fd < 0)
		return refused(way);
	if (ioctl(fd, UFFDIO_API, &api))
		return refused("ioctl(UFFDIO_API)");
	return escaped("handles page faults by %s: can stop the kernel in the middle of a copy", way);
}

static enum verdict user_fault(void)
{
	enum { USER_MODE_ONLY = 1 };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | USER_MODE_ONLY);
	return handshake(fd, "userfaultfd");
}

static enum verdict user_fault_device(void)
{
	int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (device < 0)
		return refused("/dev/userfaultfd");
	return handshake(ioctl(device, _IO(0xAA, 0x00) /* USERFAULTFD_IOC_NEW */, O_CLOEXEC), "/dev/userfaultfd");
}

static enum verdict kernel_log(void)
{
	char bytes[4096];
	int length = klogctl(3 /* SYSLOG_ACTION_READ_ALL */, bytes, sizeof bytes);

	if (length < 0)
		return refused("syslog");
	return length ? escaped("read the kernel's log") : stopped("an empty log");
}

static enum verdict kernel_symbols(void)
{
	char line[256];
	FILE *symbols = fopen("/proc/kallsyms", "re");

	if (!symbols)
		return refused("/proc/kallsyms");
	while (fgets(line, sizeof line, symbols))
		if (strtoull(line, NULL, 16)) {
			fclose(symbols);
			return escaped("read kernel addresses in /proc/kallsyms");
		}
	fclose(symbols);
	return stopped("/proc/kallsyms without addresses");
}

/* Their times tell what is typed and what a neighbour receives. */
static enum verdict interrupts(void)
{
	char byte;
	int fd = open("/proc/interrupts", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return refused("/proc/interrupts");
	ssize_t length = read(fd, &byte, 1);
	close(fd);
	return length > 0 ? escaped("counts the machine's interrupts") : stopped("/proc/interrupts is empty");
}

static enum verdict set_clock(void)
{
	struct timex time = { 0 };
	if (adjtimex(&time) < 0)
		return refused("adjtimex");
	time.modes = ADJ_TICK; /* to the value just read */
	if (adjtimex(&time) < 0)
		return refused("adjtimex(ADJ_TICK)");
	return escaped("set (the same) pace of the machine's clock");
}

/* Control-alt-delete is switched off only where it is off: the right is proven
 * and nothing changes. Where the present setting cannot be read, off is the
 * harmless of the two. */
static enum verdict reboot_switch(void)
{
	char setting = '0';
	int fd = open("/proc/sys/kernel/ctrl-alt-del", O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, &setting, 1) < 0)
		setting = '0';
	if (reboot(setting == '1' ? RB_ENABLE_CAD : RB_DISABLE_CAD))
		return refused("reboot");
	return escaped("may call reboot");
}

static enum verdict watch_files(void)
{
	int fd = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);
	if (fd < 0)
		return refused("fanotify_init");
	if (fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN, AT_FDCWD, "/"))
		return refused("fanotify_mark");
	return escaped("watches every file that anyone opens on the file system");
}

static enum verdict load_module(void)
{
	/* An image that is none: ENOEXEC means that the kernel looked at it. */
	syscall(SYS_init_module, "none", 4UL, "");
	return errno == ENOEXEC ? escaped("the kernel parsed a module") : refused("init_module");
}

static enum verdict legacy_ldt(void)
{
	char entry[16] = { 0 };
	if (syscall(SYS_modify_ldt, 1, entry, sizeof entry))
		return refused("modify_ldt");
	return escaped("wrote the local descriptor table");
}

/* A filter of its own whose listener answers calls in the kernel's place: of its
 * children, and of what a launcher lets it execute. */
static enum verdict filter_listener(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { 1, &allow };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return refused("no_new_privs");
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	return fd < 0 ? refused("seccomp") : escaped("has a listener of a filter");
}

/* A queue's notification by netlink: freed twice once. */
static enum verdict queue_notification(void)
{
	char name[48];
	struct sigevent none = { .sigev_notify = SIGEV_NONE };

	snprintf(name, sizeof name, "/bulkhead-probe-own-%d", (int)getpid());
	mqd_t queue = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL);
	if (queue == (mqd_t)-1)
		return refused("mq_open");
	mq_unlink(name);
	if (mq_notify(queue, &none))
		return refused("mq_notify");
	return escaped("reached the notification of message queues");
}

static enum verdict random_pool(void)
{
	enum { RESEED = 0x5207 }; /* RNDRESEEDCRNG, linux/random.h */
	static const char *const devices[] = { "/dev/urandom", "/dev/random" };

	for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
		int fd = open(devices[i], O_RDWR | O_CLOEXEC);
		if (fd >= 0 && !ioctl(fd, RESEED))
			return escaped("controls the machine's random numbers by %s", devices[i]);
	}
	return refused("RNDRESEEDCRNG");
}

static const struct probe kernel_probes[] = {
	{ "bpf-program", "load a BPF program", "bpf(2), CVE-2020-8835", "seccomp, capabilities", load_program },
	{ "bpf-map", "make a BPF map", "bpf(2)", "seccomp, capabilities", make_map },
	{ "perf-self", "count events of itself", "perf_event_open(2), CVE-2013-2094", "seccomp", perf_self },
	{ "perf-system", "count events of everybody", "perf_event_open(2)", "seccomp, capabilities", perf_system },
	{ "io-uring", "run an operation by io_uring", "io_uring(7), CVE-2022-29582", "seccomp", ring_nop },
	{ "io-uring-open", "open a file outside by io_uring", "io_uring(7)", "seccomp, mount namespace", ring_open },
	{ "io-uring-connect", "connect outside by io_uring", "io_uring(7)", "seccomp, network namespace",
	  ring_connect },
	{ "userfaultfd", "handle page faults", "userfaultfd(2)", "seccomp", user_fault },
	{ "dev-userfaultfd", "handle page faults by the device", "userfaultfd(2)", "mount namespace",
	  user_fault_device },
	{ "kernel-log", "read the kernel's log", "syslog(2)", "seccomp, capabilities", kernel_log },
	{ "kallsyms", "read kernel addresses", "proc(5)", "capabilities", kernel_symbols },
	{ "interrupts", "watch the interrupts of the machine", "proc(5)", "mount namespace", interrupts },
	{ "set-clock", "set the machine's clock", "adjtimex(2)", "capabilities, seccomp", set_clock },
	{ "reboot", "call reboot", "reboot(2)", "capabilities, seccomp", reboot_switch },
	{ "fanotify", "watch all files of the file system", "fanotify(7)", "capabilities, seccomp", watch_files },
	{ "load-module", "load a kernel module", "init_module(2)", "capabilities, seccomp", load_module },
	{ "modify-ldt", "write the local descriptor table", "modify_ldt(2), CVE-2015-5157", "seccomp", legacy_ldt },
	{ "filter-listener", "answer system calls in the kernel's place", "seccomp_unotify(2)", "seccomp", filter_listener },
	{ "CVE-2017-11176", "reach the notification of message queues", "CVE-2017-11176, mq_notify(3)", "seccomp",
	  queue_notification },
	{ "random-pool", "control the machine's random numbers", "random(4)", "capabilities, seccomp", random_pool },
};
THEME(kernel);
