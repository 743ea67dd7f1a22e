/* The spec: what every worker of this compartment is like. The builder wrote
 * it into a sealed memfd; it is mapped once and pointed into for ever. */
#define _GNU_SOURCE
#include "init.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = "BHSPEC1\n";

static uint32_t u32(const char *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static uint64_t u64(const char *p) { uint64_t v; memcpy(&v, p, 8); return v; }

/* A string fills its payload and ends with the payload's last byte, zero. */
static const char *string(const char *p, size_t length)
{
	return length > 0 && memchr(p, 0, length) == p + length - 1 ? p : NULL;
}

static int record(struct spec *s, unsigned tag, const char *p, size_t n)
{
	const char *text;

	switch (tag) {
	case SPEC_ARGUMENT:
		if (s->argument_count == MAX_ARGUMENTS || !(text = string(p, n)))
			return -1;
		s->arguments[s->argument_count++] = (char *)text;
		return 0;
	case SPEC_ENVIRONMENT:
		if (s->environment_count == MAX_ENVIRONMENT || !(text = string(p, n)))
			return -1;
		s->environment[s->environment_count++] = (char *)text;
		return 0;
	case SPEC_PROGRAM:
		return (s->program = string(p, n)) ? 0 : -1;
	case SPEC_DIRECTORY:
		return (s->directory = string(p, n)) ? 0 : -1;
	case SPEC_IDS:
		if (n < 16 || n % 4 || (n - 16) / 4 > MAX_GROUPS)
			return -1;
		s->uid = u32(p);
		s->gid = u32(p + 4);
		s->umask = u32(p + 8);
		s->set_groups = u32(p + 12);
		s->group_count = (n - 16) / 4;
		memcpy(s->groups, p + 16, n - 16);
		return 0;
	case SPEC_RLIMIT:
		if (n != 24 || s->rlimit_count == MAX_RLIMITS)
			return -1;
		s->rlimits[s->rlimit_count].resource = u32(p);
		s->rlimits[s->rlimit_count].value.rlim_cur = u64(p + 8);
		s->rlimits[s->rlimit_count++].value.rlim_max = u64(p + 16);
		return 0;
	case SPEC_FILTER:
		if (n == 0 || n % sizeof(struct sock_filter) || n / sizeof(struct sock_filter) > BPF_MAXINSNS)
			return -1;
		s->filter.len = n / sizeof(struct sock_filter);
		s->filter.filter = (struct sock_filter *)p;
		return 0;
	case SPEC_TEMPORARY:
		if (n < 20 || s->temporary_count == MAX_TEMPORARY || !(text = string(p + 20, n - 20)))
			return -1;
		s->temporary[s->temporary_count++] = (struct temporary){ u64(p), u32(p + 16), text, u64(p + 8) };
		return 0;
	case SPEC_PROC:
		if (n != 4)
			return -1;
		s->proc = u32(p);
		return 0;
	case SPEC_PROC_ACCESS:
		if (n != 8)
			return -1;
		s->proc_access = u64(p);
		return 0;
	case SPEC_LANDLOCK:
		if (n != 32)
			return -1;
		s->landlock = 1;
		memcpy(s->landlock_attr, p, 24);
		s->landlock_attr_size = u32(p + 24);
		return 0;
	case SPEC_LANDLOCK_PATH:
		if (n < 9 || s->path_count == MAX_PATHS || !(text = string(p + 8, n - 8)))
			return -1;
		/* O_PATH: a rule names an inode, nothing is ever read through this. */
		s->paths[s->path_count].access = u64(p);
		int low = open(text, O_PATH | O_CLOEXEC | O_NOFOLLOW);
		if (low < 0)
			return -2;
		/* Out of the low numbers: those are the worker's, whose limit on
		 * open files may be a handful. */
		s->paths[s->path_count].fd = fcntl(low, F_DUPFD_CLOEXEC, OWN_FDS);
		close(low);
		return s->paths[s->path_count++].fd < 0 ? -2 : 0;
	case SPEC_BACKGROUND:
		if (n != 0)
			return -1;
		s->background = 1;
		return 0;
	case SPEC_FILTER_EARLY:
		if (n != 0)
			return -1;
		s->filter_early = 1;
		return 0;
	case SPEC_CAPABILITIES:
		if (n != 8)
			return -1;
		s->capabilities = u64(p);
		return 0;
	}
	return -1; /* an unknown wall is a wall that would not be built */
}

int spec_read(struct spec *s, const char **what)
{
	struct stat st;

	s->arguments = s->argument_room;
	s->environment = s->variable_room;
	s->environment_room = MAX_ENVIRONMENT + MAX_ADDED_ENVIRONMENT;
	*what = "read the spec";
	if (fstat(SPEC_FD, &st) < 0)
		return -1;
	const char *p = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, SPEC_FD, 0);
	if (p == MAP_FAILED)
		return -1;
	close(SPEC_FD);

	const char *end = p + st.st_size;
	errno = EINVAL;
	if (st.st_size < (long)sizeof magic || memcmp(p, magic, sizeof magic))
		return -1;
	for (p += sizeof magic; p < end;) {
		if (end - p < 8)
			return -1;
		uint16_t tag;
		memcpy(&tag, p, 2);
		uint32_t n = u32(p + 4);
		p += 8;
		if ((size_t)(end - p) < n)
			return -1;
		switch (record(s, tag, p, n)) {
		case -1:
			errno = EINVAL;
			return -1;
		case -2: /* errno is that of open */
			*what = p + 8;
			return -1;
		}
		p += n;
	}
	errno = EINVAL;
	return s->program && s->directory && s->argument_count && s->filter.len ? 0 : -1;
}
