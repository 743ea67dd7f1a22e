/* Device nodes, those that are there and those that the probe makes. */
#include "probe.h"

#include <dirent.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

/* Makes a device node, opens it, reads a few bytes. */
static enum verdict make_and_read(mode_t type, unsigned major_number, unsigned minor_number, const char *what)
{
	char node[64], bytes[512];
	const char *where = writable_directory();

	if (!where)
		return stopped("nowhere to make a device node");
	snprintf(node, sizeof node, "%s/.bulkhead-node-%d", where, (int)getpid());
	if (mknod(node, type | 0600, makedev(major_number, minor_number)))
		return refused("mknod");
	int fd = open(node, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int failure = errno;
	unlink(node);
	errno = failure;
	if (fd < 0)
		return refused("open of the new node");
	if (read(fd, bytes, sizeof bytes) < 0)
		return refused("read of the new node");
	return escaped("made a node of %s and read it", what);
}

static enum verdict make_disk(void)
{
	unsigned major_number, minor_number;
	const char *device = target("PROBE_BLOCK_DEVICE");
	if (!device || sscanf(device, "%u:%u", &major_number, &minor_number) != 2)
		return no_target("PROBE_BLOCK_DEVICE");
	return make_and_read(S_IFBLK, major_number, minor_number, "a disk of the host");
}

static enum verdict make_kernel_log(void)
{
	return make_and_read(S_IFCHR, 1, 11, "the kernel's log");
}

/* What any compartment may have in /dev, by the kernel's list of devices. */
static int is_harmless(dev_t device)
{
	unsigned major_number = major(device), minor_number = minor(device);

	if (major_number == 1) /* null, zero, full, random, urandom */
		return minor_number == 3 || minor_number == 5 || minor_number == 7 || minor_number == 8 ||
		       minor_number == 9;
	if (major_number == 5) /* tty, ptmx */
		return minor_number == 0 || minor_number == 2;
	return major_number >= 136 && major_number <= 143; /* pts */
}

/* The first node in /dev of the type that is none of the harmless and opens. */
static enum verdict open_device(mode_t type, const char *what)
{
	DIR *devices = opendir("/dev");
	struct dirent *entry;
	enum verdict verdict = stopped("no %s in /dev opens", what);

	if (!devices)
		return refused("/dev");
	while (verdict == STOPPED && (entry = readdir(devices))) {
		struct stat status;
		if (fstatat(dirfd(devices), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) ||
		    (status.st_mode & S_IFMT) != type || is_harmless(status.st_rdev))
			continue;
		int fd = openat(dirfd(devices), entry->d_name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (fd < 0)
			continue;
		verdict = escaped("opened /dev/%s", entry->d_name);
		close(fd);
	}
	closedir(devices);
	return verdict;
}

static enum verdict open_character_device(void) { return open_device(S_IFCHR, "rare character device"); }
static enum verdict open_block_device(void) { return open_device(S_IFBLK, "block device"); }

static enum verdict open_kernel_log(void)
{
	char record[8192];
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return refused("/dev/kmsg");
	if (read(fd, record, sizeof record) < 0)
		return refused("/dev/kmsg");
	return escaped("read the kernel's log by /dev/kmsg");
}

static enum verdict virtual_machine(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return refused("/dev/kvm");
	int version = ioctl(fd, 0xAE00 /* KVM_GET_API_VERSION */, 0);
	return version < 0 ? refused("ioctl") : escaped("talks to the hypervisor, version %d", version);
}

static enum verdict network_tunnel(void)
{
	unsigned features;
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return refused("/dev/net/tun");
	if (ioctl(fd, 0x800454cf /* TUNGETFEATURES */, &features))
		return refused("ioctl");
	return escaped("may make network interfaces by /dev/net/tun");
}

static enum verdict screen(void)
{
	char bytes[16];
	int fd = open("/dev/vcs1", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return refused("/dev/vcs1");
	if (read(fd, bytes, sizeof bytes) < 0)
		return refused("/dev/vcs1");
	return escaped("read the screen of a virtual console");
}

static const struct probe devices_probes[] = {
	{ "mknod-disk", "make a node of a disk of the host and read it", "mknod(2)", "capabilities, cgroup, nodev",
	  make_disk },
	{ "mknod-kmsg", "make a node of the kernel's log and read it", "mknod(2)", "capabilities, cgroup, nodev",
	  make_kernel_log },
	{ "character-devices", "open any character device but the harmless ones", "devices.txt of the kernel",
	  "mount namespace, cgroup", open_character_device },
	{ "block-devices", "open any block device", "devices.txt of the kernel", "mount namespace, cgroup",
	  open_block_device },
	{ "dev-kmsg", "read the kernel's log by its device", "kmsg of the kernel", "mount namespace",
	  open_kernel_log },
	{ "dev-kvm", "talk to the hypervisor", "KVM documentation", "mount namespace", virtual_machine },
	{ "dev-tun", "make network interfaces", "tuntap documentation", "mount namespace", network_tunnel },
	{ "dev-vcs", "read the screen of a console", "vcs(4)", "mount namespace", screen },
};
THEME(devices);
