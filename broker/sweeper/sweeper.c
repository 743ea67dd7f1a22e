/* The sweeper: waits for the end of a broker, however it ends, and removes
 * what the kernel does not remove by itself.
 *
 *   sweeper DIRECTORY [-g CGROUP]...
 *
 * Descriptor 3 is a pipe whose other end only the broker has, descriptor 4 is
 * DIRECTORY, locked; the lock goes when both the broker and the sweeper are
 * gone, so that the next broker finds a clean place. DIRECTORY/sockets names the
 * files of unix sockets, one in a line. Processes are ended by
 * their cgroups; the order is: processes, cgroups, sockets, the mount below the
 * directory, the directory.
 * Exits with 0 when nothing is left, with 1 otherwise.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PIPE_FD = 3, LOCK_FD = 4, PATIENCE_MS = 10000, FILE_PATIENCE_MS = 1000, SOCKET_PATIENCE_MS = 200, MEMBERS = 4096 };

static void wait_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	nanosleep(&t, NULL);
}

/* Reads the pids of an open cgroup.procs file; returns how many. */
static int members(int procs, long *pids, int room)
{
	static char text[1 << 16];
	int count = 0;
	long n, length = 0;
	while ((n = pread(procs, text + length, sizeof text - 1 - length, length)) > 0)
		length += n;
	text[length] = 0;
	for (char *p = text, *end; count < room; p = end) {
		long pid = strtol(p, &end, 10);
		if (end == p)
			break;
		pids[count++] = pid;
	}
	return count;
}

static int listed(int procs, long pid)
{
	static long pids[MEMBERS];
	for (int i = members(procs, pids, MEMBERS) - 1; i >= 0; i--)
		if (pids[i] == pid)
			return 1;
	return 0;
}

/* Kills what is in a group itself. A pid from a list may be another process
 * by the time it is used: the pidfd is taken first, the list read again. */
static void kill_members(int group)
{
	int fd = openat(group, "cgroup.kill", O_WRONLY | O_CLOEXEC); /* v2, Linux 5.14 */
	if (fd >= 0) {
		if (write(fd, "1", 1) < 0)
			perror("sweeper: write cgroup.kill");
		close(fd);
		return;
	}
	fd = openat(group, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	long pids[MEMBERS];
	int count = members(fd, pids, MEMBERS);
	for (int i = 0; i < count; i++) {
		int pidfd = syscall(SYS_pidfd_open, pids[i], 0);
		if (pidfd < 0)
			continue;
		if (listed(fd, pids[i]))
			syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
		close(pidfd);
	}
	close(fd);
}

/* Removes name in parent with everything below it. In a group the files go
 * with the directory, and what lives there is killed first. */
static int remove_tree(int parent, const char *name, int group)
{
	/* Most groups are empty by now. */
	if (group && unlinkat(parent, name, AT_REMOVEDIR) == 0)
		return 0;
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (group)
		kill_members(fd);
	DIR *directory = fdopendir(fd);
	if (!directory) {
		close(fd);
		return -1;
	}
	for (struct dirent *e; (e = readdir(directory));) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (e->d_type == DT_DIR)
			remove_tree(fd, e->d_name, group);
		else if (!group)
			unlinkat(fd, e->d_name, 0);
	}
	closedir(directory);
	return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -1;
}

/* A group is busy until the last of its processes is quite gone. */
static int remove_group(const char *path)
{
	for (int waited = 0;; waited += 2) {
		if (remove_tree(AT_FDCWD, path, 1) == 0)
			return 0;
		if (waited >= PATIENCE_MS)
			break;
		wait_ms(2);
	}
	fprintf(stderr, "sweeper: remove cgroup %s: %s\n", path, strerror(errno));
	return -1;
}

/* Removes the group that all applications' groups stand in, if this was the
 * last. A start that is under way holds a shared lock on the directory of all
 * applications: it is about to make a group there, so the parent stays. */
static void remove_parents(const char *directory, char **groups, int count)
{
	char base[4096];
	snprintf(base, sizeof base, "%s/..", directory);
	int lock = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0)
		return;
	for (int i = 0; i + 1 < count; i += 2) {
		char *slash = strrchr(groups[i + 1], '/');
		if (strcmp(groups[i], "-g") || !slash)
			continue;
		*slash = 0;
		rmdir(groups[i + 1]); /* fails while another application is there */
		*slash = '/';
	}
	close(lock);
}

/* Whether path is a socket that no process has any more. Another program may
 * have been there first, or have come meanwhile; a policy may name any file by
 * mistake. A datagram socket is asked with: to a socket of another kind it
 * gets EPROTOTYPE, without a connection that the other side would notice. */
static int deserted(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;

	if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode) || strlen(path) >= sizeof address.sun_path)
		return 0;
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int refused = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

static int is_gone(const char *path)
{
	return access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

/* The broker's own copies of a socket may close a moment after its pipe. */
static void remove_socket(const char *path)
{
	for (int waited = 0; waited <= SOCKET_PATIENCE_MS && !is_gone(path); waited += 2) {
		if (deserted(path) && unlink(path) == 0)
			return;
		wait_ms(2);
	}
}

/* Removes the sockets of a list; returns -1 where it cannot be read to its end. */
static int remove_listed(const char *path)
{
	char line[4096];
	FILE *list = fopen(path, "re");

	if (!list)
		return errno == ENOENT ? 0 : -1;
	while (fgets(line, sizeof line, list)) {
		line[strcspn(line, "\n")] = 0;
		remove_socket(line);
	}
	int unread = ferror(list);
	fclose(list);
	return unread ? -1 : 0;
}

/* What fails for a moment, because there is no memory or no descriptor, is
 * tried again here and below: after this process nobody tidies up before the
 * next start. */
static int remove_sockets(const char *directory)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/sockets", directory);
	for (int waited = 0; remove_listed(path) < 0; waited += 2) {
		if (waited >= FILE_PATIENCE_MS) {
			fprintf(stderr, "sweeper: read %s: %s\n", path, strerror(errno));
			return -1;
		}
		wait_ms(2);
	}
	return 0;
}

/* Where the state directory is on a disk the launcher covers its root/ with a
 * file system in memory; otherwise nothing is mounted there. */
static int remove_directory(const char *directory)
{
	char root[4096];

	snprintf(root, sizeof root, "%s/root", directory);
	for (int waited = 0;; waited += 2) {
		umount2(root, MNT_DETACH | UMOUNT_NOFOLLOW);
		if (remove_tree(AT_FDCWD, directory, 0) == 0)
			return 0;
		if (waited >= FILE_PATIENCE_MS)
			break;
		wait_ms(2);
	}
	fprintf(stderr, "sweeper: remove %s: %s\n", directory, strerror(errno));
	return -1;
}

/* Waits until the last copy of the pipe's other end is closed. Nothing else is
 * the end of a broker. */
static void wait_for_end(void)
{
	char byte;
	for (long n; (n = read(PIPE_FD, &byte, 1)) != 0;)
		if (n < 0 && errno != EINTR)
			wait_ms(20);
}

int main(int argc, char **argv)
{
	int status = 0;
	sigset_t all;

	if (argc < 2 || fcntl(PIPE_FD, F_GETFD) < 0) {
		fprintf(stderr, "usage: sweeper DIRECTORY [-g CGROUP]... 3<PIPE 4<DIRECTORY\n");
		return 1;
	}
	/* What ends the broker, be it a terminal's interrupt, must not end
	 * this; a session of its own keeps it out of the broker's group. */
	setsid();
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	prctl(PR_SET_NAME, "sandbox-sweeper", 0, 0, 0);

	wait_for_end();

	/* From here on the application does not run: whoever finds the
	 * directory locked but without a pid knows to wait. */
	char path[4096];
	snprintf(path, sizeof path, "%s/pid", argv[1]);
	unlink(path);
	for (int i = 2; i + 1 < argc; i += 2)
		if (!strcmp(argv[i], "-g") && remove_group(argv[i + 1]) < 0)
			status = 1;
	remove_parents(argv[1], argv + 2, argc - 2);
	if (remove_sockets(argv[1]) < 0)
		status = 1;
	if (remove_directory(argv[1]) < 0)
		status = 1;
	return status;
}
