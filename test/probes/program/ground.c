/* What a probe stands on: a place to write, a mount namespace of its own. */
#include "probe.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

static const char *const directories[] = { "/tmp", "/var/tmp", "/dev/shm", "/run", "/dev", "/proc", "/etc", "/" };
#define DIRECTORIES (sizeof directories / sizeof directories[0])

/* The kernel is asked by doing: access(2) knows nothing of Landlock. */
const char *writable_directory(void)
{
	static char path[64];

	for (size_t i = 0; i < DIRECTORIES; i++) {
		snprintf(path, sizeof path, "%s/.bulkhead-probe-%d", directories[i], (int)getpid());
		int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
		if (fd < 0)
			continue;
		close(fd);
		unlink(path);
		return directories[i];
	}
	return NULL;
}

/* A directory to mount over. The root itself comes last: a mount over it is not
 * seen by path names of the process that stands in it. */
const char *existing_directory(void)
{
	struct stat status;

	for (size_t i = 0; i < DIRECTORIES; i++)
		if (!stat(directories[i], &status) && S_ISDIR(status.st_mode))
			return directories[i];
	return "/";
}

/* Bare runs must not change the host's mounts. Inside a compartment unshare may
 * be refused although mount is not, so a failure here is no verdict yet. */
int own_mount_namespace(void)
{
	if (unshare(CLONE_NEWNS))
		return -1;
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

/* The road of an ordinary user: a user namespace first, then everything else is
 * done with the capabilities that it brings. */
int own_user_and_mount_namespace(void)
{
	char map[64];
	unsigned user = geteuid(), group = getegid();

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return -1;
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof map, "0 %u 1", user);
	write_file("/proc/self/uid_map", map);
	snprintf(map, sizeof map, "0 %u 1", group);
	write_file("/proc/self/gid_map", map);
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t wrote = write(fd, text, strlen(text));
	int failure = errno;
	close(fd);
	errno = failure;
	return wrote == (ssize_t)strlen(text) ? 0 : -1;
}

/* Proves that a kernel setting can be changed without changing it. Opened twice,
 * because some settings cannot seek. */
enum verdict write_back(const char *path)
{
	char value[4096];
	int from = open(path, O_RDONLY | O_CLOEXEC);
	int to = open(path, O_WRONLY | O_CLOEXEC);
	if (from < 0 || to < 0)
		return refused(path);
	ssize_t length = read(from, value, sizeof value - 1);
	if (length < 0)
		return refused(path);
	if (length == 0)
		value[length++] = '\n'; /* an empty setting: an empty line leaves it so */
	ssize_t wrote = write(to, value, (size_t)length);
	enum verdict verdict = wrote == length ? escaped("wrote %s (the value that it had)", path) : refused(path);
	close(from);
	close(to);
	return verdict;
}

int has_capability(int number)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { 0 } };

	if (syscall(SYS_capget, &header, data))
		return 0;
	return data[number / 32].effective >> (number % 32) & 1;
}

/* The exit status of a helper process, or -1 when it died of a signal. */
int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
