/* Mounts, by the old and the new interface, and other ways to another root. */
#include "probe.h"

#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

/* linux/mount.h cannot be included beside musl's sys/mount.h. */
#define FSOPEN_CLOEXEC 1
#define FSCONFIG_CMD_CREATE 6
#define FSMOUNT_CLOEXEC 1
#define OPEN_TREE_CLONE 1
#define MOVE_MOUNT_F_EMPTY_PATH 4
#define MOUNT_ATTR_RDONLY 1
#define TMPFS_MAGIC 0x01021994

struct mount_attributes {
	uint64_t set, clear, propagation, user_namespace;
};

static int is_tmpfs(const char *path)
{
	struct statfs status;
	return !statfs(path, &status) && status.f_type == TMPFS_MAGIC;
}

static enum verdict mount_old(void)
{
	const char *directory = existing_directory();
	char file[64];

	own_mount_namespace();
	if (mount("probe", directory, "tmpfs", 0, NULL))
		return refused("mount");
	snprintf(file, sizeof file, "%s/of-the-probe", directory);
	int fd = open(file, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	int written = fd >= 0 && is_tmpfs(directory);
	if (fd >= 0)
		close(fd);
	umount2(directory, MNT_DETACH);
	return written ? escaped("mounted a tmpfs over %s", directory) : stopped("the mount had no effect");
}

static int new_tmpfs(void)
{
	int context = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	if (context < 0)
		return -1;
	if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return -1;
	return (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
}

static enum verdict mount_new(void)
{
	own_mount_namespace();
	int mounted = new_tmpfs();
	if (mounted < 0)
		return refused("fsopen, fsconfig, fsmount");
	int fd = openat(mounted, "of-the-probe", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return refused("openat in the new mount");
	return escaped("wrote into a detached tmpfs by fsopen and fsmount");
}

static enum verdict move_new_mount(void)
{
	const char *directory = existing_directory();

	own_mount_namespace();
	int mounted = new_tmpfs();
	if (mounted < 0)
		return refused("fsopen, fsconfig, fsmount");
	if (syscall(SYS_move_mount, mounted, "", AT_FDCWD, directory, MOVE_MOUNT_F_EMPTY_PATH))
		return refused("move_mount");
	int there = is_tmpfs(directory);
	umount2(directory, MNT_DETACH);
	return there ? escaped("moved a new mount over %s", directory) : stopped("the mount had no effect");
}

/* A clone of the root tree without what is mounted over it: masks fall off. */
static enum verdict open_tree_clone(void)
{
	own_mount_namespace();
	int tree = (int)syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | O_CLOEXEC);
	if (tree < 0)
		return refused("open_tree");
	int inside = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (inside < 0)
		return refused("openat in the cloned tree");
	return escaped("cloned the root's mount without what covers it");
}

static enum verdict set_mount_attributes(void)
{
	const char *directory = existing_directory();
	struct mount_attributes attributes = { .set = MOUNT_ATTR_RDONLY };

	own_mount_namespace();
	int tree = (int)syscall(SYS_open_tree, AT_FDCWD, directory, OPEN_TREE_CLONE | O_CLOEXEC);
	if (tree < 0)
		return refused("open_tree");
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes))
		return refused("mount_setattr");
	attributes = (struct mount_attributes){ .clear = MOUNT_ATTR_RDONLY };
	if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes))
		return refused("mount_setattr");
	return escaped("took the read-only mark off a mount by mount_setattr");
}

/* A read-only mount of the compartment is made writable. Bare, where everything
 * is writable, the probe makes such a mount first. */
static enum verdict remount_writable(void)
{
	struct statfs status;
	const char *directory = "/";

	own_mount_namespace();
	if (!statfs("/", &status) && !(status.f_flags & ST_RDONLY)) {
		directory = existing_directory();
		if (mount(directory, directory, NULL, MS_BIND, NULL) ||
		    mount(NULL, directory, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL))
			return refused("mount");
	}
	if (mount(NULL, directory, NULL, MS_REMOUNT | MS_BIND, NULL))
		return refused("remount");
	if (statfs(directory, &status) || status.f_flags & ST_RDONLY)
		return stopped("the remount had no effect");
	return escaped("made the read-only mount %s writable", directory);
}

static enum verdict bind_mount(void)
{
	const char *directory = existing_directory();

	own_mount_namespace();
	struct stat root, bound;
	if (mount("/", directory, NULL, MS_BIND, NULL))
		return refused("mount");
	int there = !stat("/", &root) && !stat(directory, &bound) && root.st_ino == bound.st_ino;
	umount2(directory, MNT_DETACH);
	return there ? escaped("bound / over %s", directory) : stopped("the mount had no effect");
}

/* A fresh procfs comes without the masks and read-only mounts of the old one. */
static enum verdict mount_proc(void)
{
	const char *directory = existing_directory();
	char path[64];

	own_mount_namespace();
	if (mount("probe", directory, "proc", 0, NULL))
		return refused("mount");
	snprintf(path, sizeof path, "%s/sys/kernel/core_pattern", directory);
	enum verdict verdict = write_back(path);
	umount2(directory, MNT_DETACH);
	return verdict;
}

static enum verdict mount_and_find(const char *type, const char *file)
{
	const char *directory = existing_directory();
	char path[96];
	struct stat status;

	own_mount_namespace();
	if (mount("probe", directory, type, 0, NULL))
		return refused("mount");
	snprintf(path, sizeof path, "%s/%s", directory, file);
	int there = !stat(path, &status);
	umount2(directory, MNT_DETACH);
	return there ? escaped("a fresh %s with %s", type, file) : stopped("a %s without %s", type, file);
}

static enum verdict mount_sys(void) { return mount_and_find("sysfs", "kernel"); }
static enum verdict mount_debug(void) { return mount_and_find("debugfs", "tracing"); }
static enum verdict mount_trace(void) { return mount_and_find("tracefs", "trace"); }
static enum verdict mount_devtmpfs(void) { return mount_and_find("devtmpfs", "kmsg"); }
static enum verdict mount_cgroup2(void) { return mount_and_find("cgroup2", "cgroup.procs"); }

static enum verdict mount_mqueue(void)
{
	const char *name = target("PROBE_QUEUE");
	if (!name)
		return no_target("PROBE_QUEUE");
	return mount_and_find("mqueue", name + 1);
}

/* The host's file system, mounted again from its device. It is mounted already,
 * so the kernel gives the same superblock and nothing on the disk changes. */
static enum verdict mount_host_disk(void)
{
	static const char *const types[] = { "ext4", "xfs", "btrfs" };
	const char *device = target("PROBE_HOST_DEVICE"), *secret = target("PROBE_DEVICE_SECRET");
	const char *where = writable_directory();
	const char *directory = existing_directory();
	unsigned major_number, minor_number;
	char node[64], path[512];

	if (!device || sscanf(device, "%u:%u", &major_number, &minor_number) != 2)
		return no_target("PROBE_HOST_DEVICE");
	if (!secret)
		return no_target("PROBE_DEVICE_SECRET");
	if (!where)
		return stopped("nowhere to make a device node");
	own_mount_namespace();
	snprintf(node, sizeof node, "%s/.bulkhead-disk-%d", where, (int)getpid());
	if (mknod(node, S_IFBLK | 0600, makedev(major_number, minor_number)))
		return refused("mknod");
	int failed = -1;
	for (size_t i = 0; failed && i < sizeof types / sizeof types[0]; i++)
		failed = mount(node, directory, types[i], 0, NULL);
	int failure = errno;
	if (failed) {
		unlink(node);
		errno = failure;
		return refused("mount");
	}
	snprintf(path, sizeof path, "%s%s", directory, secret);
	enum verdict verdict = read_secret(open(path, O_RDONLY | O_CLOEXEC), "mounting the host's disk");
	umount2(directory, MNT_DETACH);
	unlink(node);
	return verdict;
}

static int count_mounts(char *last, size_t size)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char line[1024], path[256];
	int number = 0;

	if (!mounts)
		return -1;
	while (fgets(line, sizeof line, mounts)) {
		number++;
		if (sscanf(line, "%*s %*s %*s %*s %255s", path) == 1 && strcmp(path, "/"))
			snprintf(last, size, "%s", path);
	}
	fclose(mounts);
	return number;
}

/* Masks are mounts: whoever can unmount sees what is under them. */
static enum verdict unmount_cover(void)
{
	char path[256] = "";

	own_mount_namespace();
	int before = count_mounts(path, sizeof path);
	if (!path[0])
		snprintf(path, sizeof path, "/proc");
	char unmounted[256];
	snprintf(unmounted, sizeof unmounted, "%s", path);
	if (umount2(unmounted, MNT_DETACH))
		return refused("umount2");
	int after = count_mounts(path, sizeof path);
	if (after >= before && after >= 0)
		return stopped("umount2 had no effect");
	return escaped("unmounted %s", unmounted);
}

static enum verdict pivot(void)
{
	const char *directory = existing_directory();

	struct stat before, after;
	own_mount_namespace();
	/* Where the mount is refused, the directory may be a mount point already. */
	mount("probe", directory, "tmpfs", 0, NULL);
	if (stat("/", &before) || chdir(directory))
		return refused("chdir");
	if (syscall(SYS_pivot_root, ".", "."))
		return refused("pivot_root");
	if (umount2(".", MNT_DETACH) || stat("/", &after))
		return stopped("pivot_root had no effect");
	if (before.st_dev == after.st_dev)
		return stopped("pivot_root left the same root");
	return escaped("another root by pivot_root");
}

/* The oldest way out: a root below the working directory, then upwards. */
static enum verdict chroot_upwards(void)
{
	const char *secret = target("PROBE_HOST_SECRET");
	const char *directory = existing_directory();

	if (!secret)
		return no_target("PROBE_HOST_SECRET");
	if (chdir("/") || chroot(directory))
		return refused("chroot");
	for (int i = 0; i < 64; i++)
		if (chdir(".."))
			return refused("chdir");
	if (chroot("."))
		return refused("chroot");
	return read_secret(open(secret, O_RDONLY | O_CLOEXEC), "chroot and ..");
}

static enum verdict mount_fuse(void)
{
	const char *directory = existing_directory();
	char options[96];

	own_mount_namespace();
	int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (device < 0)
		return refused("/dev/fuse");
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
	if (mount("probe", directory, "fuse", 0, options))
		return refused("mount");
	umount2(directory, MNT_DETACH);
	return escaped("mounted a file system that the probe serves itself");
}

static const struct probe mounts_probes[] = {
	{ "mount", "mount a tmpfs", "mount(2)", "capabilities, seccomp", mount_old },
	{ "fsmount", "mount a tmpfs by the new interface", "fsopen(2)", "capabilities, seccomp", mount_new },
	{ "move-mount", "attach a new mount by move_mount", "move_mount(2)", "capabilities, seccomp", move_new_mount },
	{ "open-tree", "clone a mount without what covers it", "open_tree(2)", "capabilities, seccomp",
	  open_tree_clone },
	{ "mount-setattr", "take the read-only mark off a mount", "mount_setattr(2)", "capabilities, seccomp",
	  set_mount_attributes },
	{ "remount-writable", "make a read-only mount writable", "mount(2)", "capabilities, seccomp",
	  remount_writable },
	{ "bind-mount", "bind a directory over another", "mount(2)", "capabilities, seccomp", bind_mount },
	{ "mount-proc", "mount a fresh /proc without masks and write to it", "proc(5)", "capabilities, seccomp",
	  mount_proc },
	{ "mount-sysfs", "mount a fresh /sys", "sysfs(5)", "capabilities, seccomp", mount_sys },
	{ "mount-debugfs", "mount debugfs", "kernel documentation", "capabilities, seccomp", mount_debug },
	{ "mount-tracefs", "mount tracefs", "kernel documentation", "capabilities, seccomp", mount_trace },
	{ "mount-devtmpfs", "mount devtmpfs with all devices of the host", "kernel documentation",
	  "capabilities, seccomp", mount_devtmpfs },
	{ "mount-cgroup2", "mount the cgroup hierarchy", "cgroups(7)", "capabilities, seccomp", mount_cgroup2 },
	{ "mount-mqueue", "mount the message queues and find a neighbour's", "mq_overview(7)",
	  "capabilities, ipc namespace", mount_mqueue },
	{ "mount-host-disk", "mount the host's disk from a device node", "mknod(2)", "capabilities, cgroup",
	  mount_host_disk },
	{ "mount-fuse", "mount a file system served by the probe itself", "fuse(4)", "mount namespace, seccomp",
	  mount_fuse },
	{ "unmount-cover", "unmount what covers a path", "umount(2)", "capabilities, seccomp", unmount_cover },
	{ "pivot-root", "change the root by pivot_root", "pivot_root(2)", "capabilities, seccomp", pivot },
	{ "chroot-upwards", "leave the root by chroot and ..", "chroot(2)", "mount namespace, capabilities",
	  chroot_upwards },
};
THEME(mounts);
