/* Files outside: by path, by handle, by descriptors and environment that came
 * along, by what names the program itself. */
#include "probe.h"

#include <dirent.h>

extern char **environ;

#define HIGHEST_DESCRIPTOR 1024

static enum verdict open_secret(void)
{
	const char *secret = target("PROBE_HOST_SECRET");
	if (!secret)
		return no_target("PROBE_HOST_SECRET");
	return read_secret(open(secret, O_RDONLY | O_CLOEXEC), "open");
}

/* Links that lead out, for launchers that resolve paths on their own side. */
static enum verdict open_secret_by_link(void)
{
	char link[64];
	const char *secret = target("PROBE_HOST_SECRET"), *where = writable_directory();

	if (!secret)
		return no_target("PROBE_HOST_SECRET");
	if (!where)
		return stopped("nowhere to make a link");
	snprintf(link, sizeof link, "%s/.bulkhead-link-%d", where, (int)getpid());
	if (symlink(secret, link))
		return refused("symlink");
	int fd = open(link, O_RDONLY | O_CLOEXEC);
	int failure = errno;
	unlink(link);
	errno = failure;
	return read_secret(fd, "a symbolic link");
}

static enum verdict open_secret_upwards(void)
{
	char path[512];
	const char *secret = target("PROBE_HOST_SECRET");

	if (!secret)
		return no_target("PROBE_HOST_SECRET");
	snprintf(path, sizeof path, "../../../../../../../../../../../..%s", secret);
	return read_secret(open(path, O_RDONLY | O_CLOEXEC), "..");
}

/* A handle names a file by its inode, whatever root the caller has. Any file of
 * the same file system serves as the door: the program itself is always one. */
static enum verdict open_by_handle(void)
{
	struct file_handle *handle = target_handle("PROBE_SECRET_HANDLE");

	if (!handle)
		return no_target("PROBE_SECRET_HANDLE");
	int door = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (door < 0)
		door = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (door < 0)
		return refused("/");
	return read_secret(open_by_handle_at(door, handle, O_RDONLY | O_CLOEXEC), "open_by_handle_at");
}

/* Everything from 3 on came from whoever started us. */
static enum verdict leaked_file(void)
{
	for (int fd = 3; fd < HIGHEST_DESCRIPTOR; fd++) {
		char bytes[sizeof MARKER];
		if (pread(fd, bytes, sizeof bytes - 1, 0) == sizeof bytes - 1 && !memcmp(bytes, MARKER, sizeof bytes - 1))
			return escaped("descriptor %d came along and has the secret", fd);
	}
	return stopped("no descriptor with the secret came along");
}

/* A descriptor of a directory is a ladder: openat walks the giver's mounts. */
static enum verdict climb(int fd, const char *way)
{
	char path[512];
	const char *secret = target("PROBE_HOST_SECRET");

	snprintf(path, sizeof path, "../../../../../../../../../../../..%s", secret);
	int found = openat(fd, path, O_RDONLY | O_CLOEXEC);
	return found < 0 ? refused(way) : read_secret(found, way);
}

static enum verdict leaked_directory(void)
{
	struct stat status;

	if (!target("PROBE_HOST_SECRET"))
		return no_target("PROBE_HOST_SECRET");
	for (int fd = 3; fd < HIGHEST_DESCRIPTOR; fd++)
		if (!fstat(fd, &status) && S_ISDIR(status.st_mode) &&
		    climb(fd, "a descriptor of a directory that came along") == ESCAPED)
			return ESCAPED;
	return stopped("no descriptor of a directory outside came along");
}

/* CVE-2024-21626: the working directory, or a descriptor that can become it,
 * is outside. */
static enum verdict working_directory(void)
{
	char path[32];

	if (!target("PROBE_HOST_SECRET"))
		return no_target("PROBE_HOST_SECRET");
	for (int fd = 3; fd < HIGHEST_DESCRIPTOR; fd++) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (!chdir(path) && climb(AT_FDCWD, "a working directory from /proc/self/fd") == ESCAPED)
			return ESCAPED;
	}
	/* The working directory as it was given is the other half of it; getcwd
	 * marks one outside of the root as unreachable. */
	char directory[4096];
	if (syscall(SYS_getcwd, directory, sizeof directory) > 0 && directory[0] != '/')
		return escaped("the working directory is outside of the root");
	return stopped("no descriptor became a working directory outside");
}

/* The same by the descriptors of every process that is visible: a launcher that
 * enters a compartment can be met there with its descriptors open. */
static enum verdict descriptors_of_entering(void)
{
	char path[300];
	const char *secret = target("PROBE_HOST_SECRET");
	DIR *processes = opendir("/proc");
	struct dirent *process, *descriptor;

	if (!secret)
		return no_target("PROBE_HOST_SECRET");
	if (!processes)
		return refused("/proc");
	while ((process = readdir(processes))) {
		long pid = atol(process->d_name);
		if (pid <= 0 || is_own_process(pid))
			continue;
		snprintf(path, sizeof path, "/proc/%ld/fd", pid);
		DIR *descriptors = opendir(path);
		while (descriptors && (descriptor = readdir(descriptors))) {
			struct stat status;
			snprintf(path, sizeof path, "/proc/%ld/fd/%.32s", pid, descriptor->d_name);
			if (descriptor->d_name[0] == '.' || stat(path, &status) || !S_ISREG(status.st_mode) ||
			    status.st_size > 4096)
				continue;
			int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
			if (fd >= 0 && has_marker(fd))
				return escaped("read the secret by descriptor %s of process %ld", descriptor->d_name, pid);
			if (fd >= 0)
				close(fd);
		}
		if (descriptors)
			closedir(descriptors);
	}
	closedir(processes);
	return stopped("no process with a descriptor of the secret");
}

static enum verdict leaked_environment(void)
{
	for (char **variable = environ; *variable; variable++) {
		const char *value = strchr(*variable, '=');
		if (value && !strncmp(value + 1, MARKER, strlen(MARKER)))
			return escaped("the launcher's variable %.*s came along", (int)(value - *variable), *variable);
	}
	return stopped("no secret in the environment");
}

/* Can the file behind a running program be changed? Opening it for writing
 * answers ETXTBSY as long as it runs, whatever the rights are, so its mode is set
 * to what it is: whoever can do that can replace it when it no longer runs. */
static enum verdict change_program(const char *path)
{
	struct stat status;

	if (stat(path, &status))
		return refused(path);
	if (chmod(path, status.st_mode & 07777))
		return refused("chmod of the program's file");
	if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS))
		return refused("writing the program's file");
	return escaped("may change the file behind %s", path);
}

static enum verdict change_own_program(void) { return change_program("/proc/self/exe"); }

static enum verdict change_init_program(void)
{
	char path[32];

	if (is_own_process(init_pid()))
		return stopped("process 1 of this pid namespace is the probe");
	snprintf(path, sizeof path, "/proc/%ld/exe", init_pid());
	return change_program(path);
}

/* State of the launcher that a compartment may write is trusted by the next
 * command that uses it. */
static enum verdict launcher_state(void)
{
	char path[512];
	const char *directory = target("PROBE_STATE_DIRECTORY");

	if (!directory)
		return no_target("PROBE_STATE_DIRECTORY");
	snprintf(path, sizeof path, "%s/forged", directory);
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return refused("open");
	close(fd);
	unlink(path);
	return escaped("made a file in the state of the launcher");
}

static const struct probe descriptors_probes[] = {
	{ "open", "read a file outside by its path", "open(2)", "mount namespace, Landlock", open_secret },
	{ "open-link", "read a file outside by a symbolic link", "symlink(7)", "mount namespace, Landlock",
	  open_secret_by_link },
	{ "open-upwards", "read a file outside by ..", "path_resolution(7)", "mount namespace, Landlock",
	  open_secret_upwards },
	{ "CVE-2014-3519", "read a file outside by its handle (\"shocker\")", "CVE-2014-3519, open_by_handle_at(2)",
	  "capabilities, seccomp", open_by_handle },
	{ "leaked-descriptor", "find a descriptor of the launcher", "close_range(2)", "closed descriptors",
	  leaked_file },
	{ "leaked-directory", "climb out by a descriptor of a directory", "CVE-2016-8649 (LXC)",
	  "closed descriptors", leaked_directory },
	{ "CVE-2024-21626", "climb out by a working directory from a descriptor", "CVE-2024-21626 (runc)",
	  "closed descriptors", working_directory },
	{ "CVE-2016-9962", "use descriptors of a process that enters", "CVE-2016-9962 (runc)",
	  "pid namespace, not dumpable", descriptors_of_entering },
	{ "leaked-environment", "find a secret in the environment", "environ(7)", "clean environment",
	  leaked_environment },
	{ "CVE-2019-5736", "change the file of the running program", "CVE-2019-5736 (runc), CVE-2019-8308 (flatpak)",
	  "read-only mount, user", change_own_program },
	{ "CVE-2019-12499", "change the launcher's file by process 1", "CVE-2019-12499 (firejail)",
	  "sealed copy, read-only mount, user", change_init_program },
	{ "CVE-2019-12589", "write into the launcher's state", "CVE-2019-12589 (firejail)", "mount namespace",
	  launcher_state },
};
THEME(descriptors);
