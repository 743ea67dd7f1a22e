/* Files that others use too: waiting for them, watching them, giving them names
 * and marks that say more than their contents. */
#include "probe.h"

#include <sys/mman.h>
#include <sys/xattr.h>

#ifndef RENAME_WHITEOUT
#define RENAME_WHITEOUT (1 << 2) /* renameat2(2) */
#endif

/* Who opens a file with a lease on it waits for the holder. A file in memory is
 * as good as one on a disk that the host writes; it must not be open for writing. */
static enum verdict lease(void)
{
	char path[32];
	int made = memfd_create("probe", MFD_CLOEXEC);

	if (made < 0)
		return refused("memfd_create");
	snprintf(path, sizeof path, "/proc/self/fd/%d", made);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return refused(path);
	close(made);
	signal(SIGIO, SIG_IGN);
	if (fcntl(fd, F_SETLEASE, F_RDLCK))
		return refused("F_SETLEASE");
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC) >= 0 || errno != EWOULDBLOCK)
		return stopped("has a lease, but nobody waits for it");
	return escaped("whoever opens the file waits for its holder");
}

/* Signals for what anybody does in a directory: of the host's, where one is shown. */
static enum verdict directory_signals(void)
{
	int fd = open(existing_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return refused("open");
	signal(SIGIO, SIG_IGN);
	if (fcntl(fd, F_NOTIFY, DN_CREATE | DN_DELETE | DN_MULTISHOT))
		return refused("F_NOTIFY");
	return escaped("hears by signals what is made and removed in a directory");
}

/* A device node without mknod(2): what overlayfs calls a whiteout. */
static enum verdict whiteout(void)
{
	char from[96], to[96];
	struct stat status;
	const char *directory = writable_directory();

	if (!directory)
		return stopped("no directory can be written");
	snprintf(from, sizeof from, "%s/.bulkhead-probe-from-%d", directory, (int)getpid());
	snprintf(to, sizeof to, "%s/.bulkhead-probe-to-%d", directory, (int)getpid());
	int fd = open(from, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return refused(from);
	close(fd);
	int failed = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_WHITEOUT);
	enum verdict verdict = failed ? refused("RENAME_WHITEOUT") : stopped("a rename made no device");
	if (!failed && !lstat(from, &status) && S_ISCHR(status.st_mode))
		verdict = escaped("made a device node by a rename");
	unlink(from);
	unlink(to);
	return verdict;
}

/* A second name keeps a program, with its bits, when its owner replaces it. */
static enum verdict keep_program(void)
{
	char path[512];
	const char *directory = target("PROBE_STATE_DIRECTORY");

	if (!directory)
		return no_target("PROBE_STATE_DIRECTORY");
	snprintf(path, sizeof path, "%s/kept-%d", directory, (int)getpid());
	if (linkat(AT_FDCWD, "/proc/self/exe", AT_FDCWD, path, AT_SYMLINK_FOLLOW))
		return refused("linkat");
	unlink(path);
	return escaped("gave the program's file another name, outside");
}

/* A file is made without a name, and gets one where the directory is not the
 * program's to open: by its descriptor. */
static enum verdict nameless_file(void)
{
	char path[512], link[32];
	const char *directory = target("PROBE_STATE_DIRECTORY");

	if (!directory)
		return no_target("PROBE_STATE_DIRECTORY");
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return refused("O_TMPFILE");
	snprintf(path, sizeof path, "%s/named-%d", directory, (int)getpid());
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW))
		return refused("linkat");
	unlink(path);
	return escaped("made a file outside, and named it afterwards");
}

/* What overlayfs and others believe of a file. */
static enum verdict trusted_attribute(void)
{
	static const char name[] = "trusted.bulkhead-probe";
	char path[512];
	const char *directory = target("PROBE_STATE_DIRECTORY");

	if (!directory)
		return no_target("PROBE_STATE_DIRECTORY");
	snprintf(path, sizeof path, "%s", directory);
	if (setxattr(path, name, "x", 1, 0))
		return refused("setxattr");
	removexattr(path, name);
	return escaped("set an attribute that the host trusts");
}

static const struct probe files_probes[] = {
	{ "lease", "hold up whoever opens a file", "fcntl(2)", "seccomp", lease },
	{ "directory-signals", "hear by signals what others do in a directory", "fcntl(2)", "seccomp", directory_signals },
	{ "whiteout", "make a device node by a rename", "renameat2(2)", "read-only root, seccomp", whiteout },
	{ "keep-program", "give the program's file another name outside", "linkat(2)", "mount namespace", keep_program },
	{ "nameless-file", "make a file outside without a name, and name it", "open(2)", "mount namespace", nameless_file },
	{ "trusted-attribute", "set an attribute of a file that the host trusts", "xattr(7)", "mount namespace, capabilities",
	  trusted_attribute },
};
THEME(files);
