/* Users and capabilities. */
#include "probe.h"

#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

static enum verdict become_other(void)
{
	if (setresuid(12345, 12345, 12345))
		return refused("setresuid");
	return getuid() == 12345 ? escaped("became another user") : stopped("setresuid had no effect");
}

static enum verdict become_other_group(void)
{
	if (setresgid(12345, 12345, 12345))
		return refused("setresgid");
	return getgid() == 12345 ? escaped("became a member of another group") : stopped("setresgid had no effect");
}

/* A group can deny as well as allow (mode 0604): dropping one is a way in. */
static enum verdict drop_groups(void)
{
	if (setgroups(0, NULL))
		return refused("setgroups");
	return escaped("dropped its supplementary groups");
}

static enum verdict raise_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		return refused("capget");
	for (int i = 0; i < 2; i++)
		data[i].effective = data[i].permitted;
	if (syscall(SYS_capset, &header, data))
		return refused("capset");
	if (!data[0].effective && !data[1].effective)
		return stopped("no capability is permitted");
	return escaped("holds capabilities %08x%08x", data[1].effective, data[0].effective);
}

/* What is ambient or inheritable comes back at the exec of a program that has
 * none by itself: Docker once left these sets full. */
static enum verdict ambient_capability(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		return refused("capget");
	data[0].inheritable |= data[0].permitted;
	data[1].inheritable |= data[1].permitted;
	if (!data[0].inheritable && !data[1].inheritable)
		return stopped("nothing is permitted or inheritable");
	if (syscall(SYS_capset, &header, data))
		return refused("capset");
	for (int capability = 0; capability < 41; capability++)
		if (!prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0))
			return escaped("capability %d survives the exec of any program", capability);
	return refused("prctl(PR_CAP_AMBIENT_RAISE)");
}

/* A copy of this program in a directory that it can write, or NULL. */
static const char *copy_of_self(void)
{
	static char path[96];
	char bytes[65536];
	ssize_t length;
	const char *where = writable_directory();

	if (!where) {
		errno = EROFS;
		return NULL;
	}
	snprintf(path, sizeof path, "%s/.bulkhead-copy-%d", where, (int)getpid());
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int to = from < 0 ? -1 : open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0755);
	if (to < 0)
		return NULL;
	while ((length = read(from, bytes, sizeof bytes)) > 0)
		if (write(to, bytes, (size_t)length) != length) {
			unlink(path);
			return NULL;
		}
	close(from);
	close(to);
	return path;
}

/* A file that a user outside may run with the rights of its owner. */
static enum verdict make_setuid_file(void)
{
	char path[64];
	struct stat status;
	struct statvfs file_system;
	const char *where = writable_directory();

	if (!where)
		return stopped("nowhere to make a file");
	snprintf(path, sizeof path, "%s/.bulkhead-setuid-%d", where, (int)getpid());
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0700);
	if (fd < 0)
		return refused("open");
	int failed = fchmod(fd, 04755);
	enum verdict verdict = failed ? refused("fchmod") : STOPPED;
	if (!failed) {
		if (fstat(fd, &status) || !(status.st_mode & S_ISUID))
			verdict = stopped("the setuid bit was dropped");
		else if (!fstatvfs(fd, &file_system) && file_system.f_flag & ST_NOSUID)
			verdict = stopped("a setuid file where setuid has no effect");
		else
			verdict = escaped("made a setuid file in %s", where);
	}
	close(fd);
	unlink(path);
	return verdict;
}

/* After all rights were given away, a setuid file brings them back. */
static enum verdict regain_by_setuid(void)
{
	const char *copy = copy_of_self();

	if (!copy)
		return refused("copy of this program");
	if (chmod(copy, 04755)) {
		enum verdict verdict = refused("chmod");
		unlink(copy);
		return verdict;
	}
	pid_t pid = fork();
	if (pid == 0) {
		if (geteuid() == 0 && setresuid(65534, 65534, 65534))
			_exit(1);
		execl(copy, "probe", "effective-user", (char *)NULL);
		_exit(2);
	}
	enum verdict verdict = pid < 0 ? refused("fork") : STOPPED;
	if (pid > 0)
		verdict = wait_for(pid) == 77 ? escaped("a setuid file gave root's rights back")
					      : stopped("a setuid file gave no rights");
	unlink(copy);
	return verdict;
}

static enum verdict file_capability(void)
{
	char path[64];
	/* linux/capability.h: revision 2, effective, CAP_NET_RAW */
	uint32_t capability[5] = { 0x02000001, 1u << CAP_NET_RAW, 0, 0, 0 };
	const char *where = writable_directory();

	if (!where)
		return stopped("nowhere to make a file");
	snprintf(path, sizeof path, "%s/.bulkhead-capability-%d", where, (int)getpid());
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0700);
	if (fd < 0)
		return refused("open");
	int failed = fsetxattr(fd, "security.capability", capability, sizeof capability, 0);
	enum verdict verdict = failed ? refused("fsetxattr") : escaped("gave a file a capability");
	close(fd);
	unlink(path);
	return verdict;
}

static enum verdict keep_through_securebits(void)
{
	enum { SECBIT_KEEP_CAPS = 1 << 4 };
	long bits = prctl(PR_GET_SECUREBITS);
	if (bits < 0)
		return refused("prctl(PR_GET_SECUREBITS)");
	if (prctl(PR_SET_SECUREBITS, bits | SECBIT_KEEP_CAPS | 1 << 3))
		return refused("prctl(PR_SET_SECUREBITS)");
	return escaped("changed the rules by which capabilities are lost");
}

static const struct probe credentials_probes[] = {
	{ "other-user", "become another user", "setresuid(2)", "capabilities, user namespace", become_other },
	{ "other-group", "become a member of another group", "setresgid(2)", "capabilities, user namespace",
	  become_other_group },
	{ "CVE-2014-8989", "drop a group that denies", "CVE-2014-8989", "capabilities, user namespace", drop_groups },
	{ "capabilities", "hold any capability", "capabilities(7)", "capabilities", raise_capabilities },
	{ "CVE-2022-24769", "carry capabilities over an exec",
	  "CVE-2022-24769 (Moby), CVE-2022-29162 (runc), CVE-2016-8867 (Docker)", "capabilities",
	  ambient_capability },
	{ "CVE-2017-9780", "make a setuid file", "CVE-2017-9780 (flatpak)", "seccomp, nosuid", make_setuid_file },
	{ "setuid-regained", "get root's rights back by a setuid file", "execve(2)", "no_new_privs, nosuid",
	  regain_by_setuid },
	{ "file-capability", "give a file a capability", "capabilities(7)", "capabilities, seccomp", file_capability },
	{ "securebits", "change how capabilities are lost", "capabilities(7)", "capabilities",
	  keep_through_securebits },
};
THEME(credentials);
