/*
 * bulkhead.h: ask the monitor of a Bulkhead application for what the policy grants.
 *
 *	struct bulkhead b;
 *	struct bulkhead_worker w;
 *	int numbers[] = { 0, 1 }, fds[] = { source, sink };
 *
 *	if (bulkhead_begin(&b) == 0 &&
 *	    (file = bulkhead_open(&b, "store", "a.txt", O_RDONLY, 0)) >= 0 &&
 *	    bulkhead_start(&b, &w, "decode", 2, numbers, fds) == 0 &&
 *	    bulkhead_wait(&b, &w, -1) == 0)
 *		puts(bulkhead_result(&w));
 *
 * One header, GNU C99 or C++11, Linux, no library; it allocates nothing.
 *
 * Shapes. What is asked for is a descriptor, or 0; a failure is -1 with errno. Every descriptor that arrives is
 * close-on-exec and the caller's to close. Descriptors that are given away (start, store) are copied by the kernel:
 * the caller still owns its own and should close what it no longer needs, or the reader of a pipe never sees its end.
 *
 * Errors. A refused request sets the errno that the monitor chose: EPERM or EACCES (not permitted), ENOENT (no such
 * grant or file), EAGAIN (every worker is busy and the queue is full). EPIPE means that the monitor has ended, EPROTO
 * that it said something malformed; after either, every call fails with it. EMSGSIZE: the request is too large to send.
 *
 * Threads. A struct bulkhead belongs to one thread at a time; many workers may run at once.
 *
 * Lifetimes. A struct bulkhead_worker is the caller's and must stay where it is from bulkhead_start until
 * bulkhead_wait has returned 0 for it, or bulkhead_end was called. Workers are killed by the monitor when this process
 * ends, not by bulkhead_end.
 *
 * The protocol is described in docs/protocol.md. Names that end in an underscore are not for callers.
 */
#ifndef BULKHEAD_H
#define BULKHEAD_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a worker ended. */
#define BULKHEAD_EXITED 1   /* code is the exit status */
#define BULKHEAD_SIGNALED 2 /* code is the signal */
#define BULKHEAD_NOT_RUN 3  /* code is the errno */

#define BULKHEAD_MAXIMUM_FDS 16

/* A worker that was started. how, code and reason are set when bulkhead_wait has returned 0. */
struct bulkhead_worker {
	uint32_t number;
	int how;
	int code;
	char reason[256]; /* in words, cut if longer; "" for a worker that exited by itself */
	uint32_t id_;
	struct bulkhead_worker *next_;
};

/* The connection to the monitor. */
struct bulkhead {
	int fd_;
	int broken_; /* the errno of every call, once the connection has ended */
	uint32_t last_;
	struct bulkhead_worker *running_;
};

#define BULKHEAD_HEADER_ 16
#define BULKHEAD_SIZE_ 4096

enum { BULKHEAD_REQUEST_ = 1, BULKHEAD_REPLY_ = 2, BULKHEAD_EVENT_ = 3 };

enum {
	BULKHEAD_OPEN_ = 1,
	BULKHEAD_CONNECT_ = 2,
	BULKHEAD_LISTEN_ = 3,
	BULKHEAD_START_ = 4,
	BULKHEAD_CANCEL_ = 5,
	BULKHEAD_READY_ = 6,
	BULKHEAD_STATUS_ = 7,
	BULKHEAD_WATCHDOG_ = 8,
	BULKHEAD_STORE_ = 9,
	BULKHEAD_FETCH_ = 10,
	BULKHEAD_DROP_ = 11,
	BULKHEAD_SEAL_ = 12,
	BULKHEAD_ACCEPT_ = 13
};

/* A packet. One byte and one descriptor more than allowed fit in, so that what is too large is seen and not cut. */
struct bulkhead_packet_ {
	unsigned char bytes[BULKHEAD_SIZE_ + 1];
	size_t size;
	int too_large;
	int fds[BULKHEAD_MAXIMUM_FDS + 1];
	int count;
};

static inline void bulkhead_put16_(struct bulkhead_packet_ *p, uint32_t v)
{
	if (p->size + 2 > BULKHEAD_SIZE_) {
		p->too_large = 1;
		return;
	}
	p->bytes[p->size++] = (unsigned char)(v & 255);
	p->bytes[p->size++] = (unsigned char)(v >> 8 & 255);
}

static inline void bulkhead_put32_(struct bulkhead_packet_ *p, uint32_t v)
{
	bulkhead_put16_(p, v & 0xffff);
	bulkhead_put16_(p, v >> 16);
}

static inline void bulkhead_put_string_(struct bulkhead_packet_ *p, const char *s)
{
	size_t length = strlen(s);

	if (p->size + 2 + length > BULKHEAD_SIZE_) {
		p->too_large = 1;
		return;
	}
	bulkhead_put16_(p, (uint32_t)length);
	memcpy(p->bytes + p->size, s, length);
	p->size += length;
}

static inline uint32_t bulkhead_get16_(const unsigned char *b)
{
	return (uint32_t)b[0] | (uint32_t)b[1] << 8;
}

static inline uint32_t bulkhead_get32_(const unsigned char *b)
{
	return bulkhead_get16_(b) | bulkhead_get16_(b + 2) << 16;
}

static inline void bulkhead_close_(struct bulkhead_packet_ *p)
{
	int i;

	for (i = 0; i < p->count; i++)
		close(p->fds[i]);
	p->count = 0;
}

/* End the connection because of what came; the descriptors that came with it are closed. */
static inline int bulkhead_break_(struct bulkhead *b, struct bulkhead_packet_ *p, int error)
{
	bulkhead_close_(p);
	if (b->broken_ == 0)
		b->broken_ = error;
	errno = b->broken_;
	return -1;
}

/* Start a request. */
static inline void bulkhead_request_(struct bulkhead *b, struct bulkhead_packet_ *p, uint32_t operation)
{
	struct bulkhead_worker *w = b->running_;

	/* An id that is in use, after 2^32 requests: a worker that ran all the time. Zero is no request's. */
	b->last_++;
	while (w != NULL || b->last_ == 0) {
		if (b->last_ == 0 || w->id_ == b->last_) {
			b->last_++;
			w = b->running_;
		} else {
			w = w->next_;
		}
	}
	p->size = 0;
	p->too_large = 0;
	p->count = 0;
	bulkhead_put16_(p, 1 | BULKHEAD_REQUEST_ << 8); /* version and kind */
	bulkhead_put16_(p, operation);
	bulkhead_put32_(p, b->last_);
	bulkhead_put32_(p, 0); /* status */
	bulkhead_put32_(p, 0); /* number of descriptors, reserved */
}

static inline int bulkhead_send_(struct bulkhead *b, struct bulkhead_packet_ *p)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * BULKHEAD_MAXIMUM_FDS)];
	} control;
	struct iovec iov;
	struct msghdr message;
	ssize_t n;

	if (b->broken_ != 0) {
		errno = b->broken_;
		return -1;
	}
	if (p->too_large || p->count > BULKHEAD_MAXIMUM_FDS) {
		errno = EMSGSIZE;
		return -1;
	}
	p->bytes[12] = (unsigned char)p->count;
	iov.iov_base = p->bytes;
	iov.iov_len = p->size;
	memset(&message, 0, sizeof message);
	message.msg_iov = &iov;
	message.msg_iovlen = 1;
	if (p->count > 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof control);
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)p->count);
		c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)p->count);
		memcpy(CMSG_DATA(c), p->fds, sizeof(int) * (size_t)p->count);
	}
	/* The descriptors of a request stay the caller's, whatever follows. */
	p->count = 0;
	do
		n = sendmsg(b->fd_, &message, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
		return bulkhead_break_(b, p, EPIPE);
	return n < 0 ? -1 : 0;
}

/* Receive one packet, whose shape is right when this returns 0. */
static inline int bulkhead_receive_(struct bulkhead *b, struct bulkhead_packet_ *p)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * (BULKHEAD_MAXIMUM_FDS + 1))];
	} control;
	struct iovec iov;
	struct msghdr message;
	struct cmsghdr *c;
	ssize_t n;

	iov.iov_base = p->bytes;
	iov.iov_len = sizeof p->bytes;
	p->count = 0;
	do {
		memset(&message, 0, sizeof message);
		message.msg_iov = &iov;
		message.msg_iovlen = 1;
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof control.bytes;
		n = recvmsg(b->fd_, &message, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return bulkhead_break_(b, p, errno == ECONNRESET ? EPIPE : errno);
	for (c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
		size_t i, count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			/* Alignment gives the control buffer room for one more than asked for. */
			if (p->count > BULKHEAD_MAXIMUM_FDS)
				close(fd);
			else
				p->fds[p->count++] = fd;
		}
	}
	if (n == 0)
		return bulkhead_break_(b, p, EPIPE);
	p->size = (size_t)n;
	if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || p->size < BULKHEAD_HEADER_ || p->size > BULKHEAD_SIZE_ ||
	    p->bytes[0] != 1 || (p->bytes[1] != BULKHEAD_REPLY_ && p->bytes[1] != BULKHEAD_EVENT_) ||
	    p->bytes[14] != 0 || p->bytes[15] != 0 || p->count > BULKHEAD_MAXIMUM_FDS ||
	    bulkhead_get16_(p->bytes + 12) != (uint32_t)p->count)
		return bulkhead_break_(b, p, EPROTO);
	return 0;
}

/* Take the event of a worker. */
static inline int bulkhead_event_(struct bulkhead *b, struct bulkhead_packet_ *p)
{
	const unsigned char *body = p->bytes + BULKHEAD_HEADER_;
	struct bulkhead_worker **link = &b->running_, *w;
	size_t size = p->size - BULKHEAD_HEADER_, length, kept;

	while (*link != NULL && (*link)->id_ != bulkhead_get32_(p->bytes + 4))
		link = &(*link)->next_;
	w = *link;
	if (w == NULL || bulkhead_get16_(p->bytes + 2) != BULKHEAD_START_ || bulkhead_get32_(p->bytes + 8) != 0 ||
	    p->count != 0 || size < 10)
		return bulkhead_break_(b, p, EPROTO);
	length = bulkhead_get16_(body + 8);
	if (size != 10 + length || memchr(body + 10, 0, length) != NULL ||
	    bulkhead_get32_(body) < BULKHEAD_EXITED || bulkhead_get32_(body) > BULKHEAD_NOT_RUN)
		return bulkhead_break_(b, p, EPROTO);
	kept = length < sizeof w->reason ? length : sizeof w->reason - 1;
	w->how = (int)bulkhead_get32_(body);
	w->code = (int)bulkhead_get32_(body + 4);
	memcpy(w->reason, body + 10, kept);
	w->reason[kept] = 0;
	*link = w->next_;
	return 0;
}

/* Send a request and wait for its reply, whose body has size bytes and which brings count descriptors. */
static inline int bulkhead_ask_(struct bulkhead *b, struct bulkhead_packet_ *p, size_t size, int count)
{
	uint32_t operation = bulkhead_get16_(p->bytes + 2), id = b->last_, status;

	if (bulkhead_send_(b, p) < 0)
		return -1;
	for (;;) {
		if (bulkhead_receive_(b, p) < 0)
			return -1;
		if (p->bytes[1] == BULKHEAD_REPLY_)
			break;
		if (bulkhead_event_(b, p) < 0)
			return -1;
	}
	status = bulkhead_get32_(p->bytes + 8);
	if (bulkhead_get16_(p->bytes + 2) != operation || bulkhead_get32_(p->bytes + 4) != id)
		return bulkhead_break_(b, p, EPROTO);
	if (status != 0) {
		if (p->size != BULKHEAD_HEADER_ || p->count != 0)
			return bulkhead_break_(b, p, EPROTO);
		errno = (int)status;
		return -1;
	}
	if (p->size != BULKHEAD_HEADER_ + size || (count >= 0 && p->count != count))
		return bulkhead_break_(b, p, EPROTO);
	return 0;
}

static inline int bulkhead_ask_descriptor_(struct bulkhead *b, struct bulkhead_packet_ *p)
{
	return bulkhead_ask_(b, p, 0, 1) < 0 ? -1 : p->fds[0];
}

static inline int bulkhead_ask_by_name_(struct bulkhead *b, uint32_t operation, const char *name)
{
	struct bulkhead_packet_ p;

	bulkhead_request_(b, &p, operation);
	bulkhead_put_string_(&p, name);
	return bulkhead_ask_(b, &p, 0, 0);
}

/* Take descriptor fd, a connected socket, and own it from then on. */
static inline int bulkhead_begin_with(struct bulkhead *b, int fd)
{
	b->fd_ = fd;
	b->broken_ = 0;
	b->last_ = 0;
	b->running_ = NULL;
	return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -1 : 0;
}

/* Take the socket whose number is in SANDBOX_BROKER_FD; ENOTCONN when the process does not run under Bulkhead. */
static inline int bulkhead_begin(struct bulkhead *b)
{
	const char *text = getenv("SANDBOX_BROKER_FD");
	char *end;
	long fd;

	if (text == NULL) {
		errno = ENOTCONN;
		return -1;
	}
	fd = strtol(text, &end, 10);
	if (end == text || *end != 0 || fd < 0 || fd > 1 << 20) {
		errno = EBADF;
		return -1;
	}
	return bulkhead_begin_with(b, (int)fd);
}

/* Close the socket and forget the workers, which run on. */
static inline void bulkhead_end(struct bulkhead *b)
{
	if (b->fd_ >= 0)
		close(b->fd_);
	b->fd_ = -1;
	b->broken_ = EPIPE;
	b->running_ = NULL;
}

/*
 * Open a file and return its descriptor. For a directory grant path is relative to the directory, for a file grant it
 * is ""; mode counts only with O_CREAT.
 */
static inline int bulkhead_open(struct bulkhead *b, const char *grant, const char *path, int flags, mode_t mode)
{
	struct bulkhead_packet_ p;

	bulkhead_request_(b, &p, BULKHEAD_OPEN_);
	bulkhead_put32_(&p, (uint32_t)(flags & ~O_CLOEXEC));
	bulkhead_put32_(&p, (flags & O_CREAT) != 0 ? (uint32_t)mode : 0);
	bulkhead_put_string_(&p, grant);
	bulkhead_put_string_(&p, path);
	return bulkhead_ask_descriptor_(b, &p);
}

/* Return a new connected socket of a connect grant. */
static inline int bulkhead_connect(struct bulkhead *b, const char *grant)
{
	struct bulkhead_packet_ p;

	bulkhead_request_(b, &p, BULKHEAD_CONNECT_);
	bulkhead_put_string_(&p, grant);
	return bulkhead_ask_descriptor_(b, &p);
}

/* Return the listening socket of a listen grant. */
static inline int bulkhead_listen(struct bulkhead *b, const char *grant)
{
	struct bulkhead_packet_ p;

	bulkhead_request_(b, &p, BULKHEAD_LISTEN_);
	bulkhead_put_string_(&p, grant);
	return bulkhead_ask_descriptor_(b, &p);
}

/* Wait until somebody connects to the socket of a listen grant; return that connection. */
static inline int bulkhead_accept(struct bulkhead *b, const char *grant)
{
	struct bulkhead_packet_ p;

	bulkhead_request_(b, &p, BULKHEAD_ACCEPT_);
	bulkhead_put_string_(&p, grant);
	return bulkhead_ask_descriptor_(b, &p);
}

/*
 * Start a worker of component; return when it runs. It gets fds[i] under the number numbers[i]. While every worker of
 * the component is busy this waits in the policy's queue; when that is full it fails with EAGAIN.
 */
static inline int bulkhead_start(struct bulkhead *b, struct bulkhead_worker *w, const char *component, int count,
				 const int *numbers, const int *fds)
{
	struct bulkhead_packet_ p;
	int i;

	if (count < 0 || count > BULKHEAD_MAXIMUM_FDS) {
		errno = EMSGSIZE;
		return -1;
	}
	bulkhead_request_(b, &p, BULKHEAD_START_);
	bulkhead_put_string_(&p, component);
	bulkhead_put16_(&p, (uint32_t)count);
	for (i = 0; i < count; i++) {
		bulkhead_put16_(&p, (uint32_t)numbers[i]);
		p.fds[i] = fds[i];
	}
	p.count = count;
	memset(w, 0, sizeof *w);
	w->id_ = b->last_;
	if (bulkhead_ask_(b, &p, 4, 0) < 0)
		return -1;
	w->number = bulkhead_get32_(p.bytes + BULKHEAD_HEADER_);
	w->next_ = b->running_;
	b->running_ = w;
	return 0;
}

/*
 * Wait until a worker has ended, at most for so many milliseconds (-1: for ever). ETIMEDOUT: it runs on and may be
 * waited for again. Waiting for one that has ended already returns 0 at once.
 */
static inline int bulkhead_wait(struct bulkhead *b, struct bulkhead_worker *w, int milliseconds)
{
	struct bulkhead_packet_ p;
	struct timespec now;
	int64_t deadline = 0, left = -1;

	clock_gettime(CLOCK_MONOTONIC, &now);
	deadline = now.tv_sec * (int64_t)1000 + now.tv_nsec / 1000000 + milliseconds;
	while (w->how == 0) {
		struct pollfd readable;

		if (b->broken_ != 0) {
			errno = b->broken_;
			return -1;
		}
		if (milliseconds >= 0) {
			clock_gettime(CLOCK_MONOTONIC, &now);
			left = deadline - (now.tv_sec * (int64_t)1000 + now.tv_nsec / 1000000);
		}
		readable.fd = b->fd_;
		readable.events = POLLIN;
		readable.revents = 0;
		switch (poll(&readable, 1, milliseconds < 0 ? -1 : left > 0 ? (int)left : 0)) {
		case 0:
			errno = ETIMEDOUT;
			return -1;
		case -1:
			if (errno != EINTR)
				return -1;
			continue;
		}
		if (bulkhead_receive_(b, &p) < 0)
			return -1;
		/* No request is open, so a reply answers none. */
		if (p.bytes[1] != BULKHEAD_EVENT_)
			return bulkhead_break_(b, &p, EPROTO);
		if (bulkhead_event_(b, &p) < 0)
			return -1;
	}
	return 0;
}

/* Kill a worker. Its end still comes, so bulkhead_wait afterwards. One that has ended already is no error. */
static inline int bulkhead_cancel(struct bulkhead *b, const struct bulkhead_worker *w)
{
	struct bulkhead_packet_ p;

	if (w->how != 0)
		return 0;
	bulkhead_request_(b, &p, BULKHEAD_CANCEL_);
	bulkhead_put32_(&p, w->number);
	return bulkhead_ask_(b, &p, 0, 0) < 0 && errno != ESRCH ? -1 : 0;
}

/* Whether a worker that has ended exited with status 0. */
static inline int bulkhead_ok(const struct bulkhead_worker *w)
{
	return w->how == BULKHEAD_EXITED && w->code == 0;
}

/* Say in words how a worker ended; the words live as long as w. */
static inline const char *bulkhead_result(struct bulkhead_worker *w)
{
	if (w->reason[0] == 0 && w->how == BULKHEAD_EXITED)
		snprintf(w->reason, sizeof w->reason, "exited with status %d", w->code);
	else if (w->reason[0] == 0 && w->how == BULKHEAD_SIGNALED)
		snprintf(w->reason, sizeof w->reason, "killed by signal %d (%s)", w->code, strsignal(w->code));
	else if (w->reason[0] == 0 && w->how == BULKHEAD_NOT_RUN)
		snprintf(w->reason, sizeof w->reason, "not run: %s", strerror(w->code));
	return w->reason;
}

/* Say that this worker is ready to serve. */
static inline int bulkhead_ready(struct bulkhead *b)
{
	struct bulkhead_packet_ p;

	bulkhead_request_(b, &p, BULKHEAD_READY_);
	return bulkhead_ask_(b, &p, 0, 0);
}

/* Say in words what this worker does; `sandbox inspect` shows it. */
static inline int bulkhead_status(struct bulkhead *b, const char *text)
{
	return bulkhead_ask_by_name_(b, BULKHEAD_STATUS_, text);
}

/* Say that this worker is alive, within the policy's watchdog time. */
static inline int bulkhead_watchdog(struct bulkhead *b)
{
	struct bulkhead_packet_ p;

	bulkhead_request_(b, &p, BULKHEAD_WATCHDOG_);
	return bulkhead_ask_(b, &p, 0, 0);
}

/* Leave a descriptor with the monitor, to be fetched after a restart. */
static inline int bulkhead_store(struct bulkhead *b, const char *name, int fd)
{
	struct bulkhead_packet_ p;

	bulkhead_request_(b, &p, BULKHEAD_STORE_);
	bulkhead_put_string_(&p, name);
	p.fds[0] = fd;
	p.count = 1;
	return bulkhead_ask_(b, &p, 0, 0);
}

/* Put the descriptors that are stored under name into fds and return how many; without any, ENOENT. They stay stored. */
static inline int bulkhead_fetch(struct bulkhead *b, const char *name, int fds[BULKHEAD_MAXIMUM_FDS])
{
	struct bulkhead_packet_ p;

	bulkhead_request_(b, &p, BULKHEAD_FETCH_);
	bulkhead_put_string_(&p, name);
	if (bulkhead_ask_(b, &p, 0, -1) < 0)
		return -1;
	memcpy(fds, p.fds, sizeof(int) * (size_t)p.count);
	return p.count;
}

/* Give up a grant for good. */
static inline int bulkhead_drop(struct bulkhead *b, const char *grant)
{
	return bulkhead_ask_by_name_(b, BULKHEAD_DROP_, grant);
}

/* Give up every grant but these for good. */
static inline int bulkhead_seal(struct bulkhead *b, int count, const char *const *grants)
{
	struct bulkhead_packet_ p;
	int i;

	bulkhead_request_(b, &p, BULKHEAD_SEAL_);
	bulkhead_put16_(&p, (uint32_t)count);
	for (i = 0; i < count; i++)
		bulkhead_put_string_(&p, grants[i]);
	return bulkhead_ask_(b, &p, 0, 0);
}

/*
 * Return the descriptor of the listening socket that was granted at start under this name (sd_listen_fds(3)), and set
 * close-on-exec on it; ENOENT when there is none.
 */
static inline int bulkhead_listen_fd(const char *grant)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
	size_t length = strlen(grant);
	int fd;

	if (pid != NULL && count != NULL && names != NULL && atol(pid) == (long)getpid())
		for (fd = 3; fd < 3 + atoi(count) && names != NULL; fd++) {
			if (strncmp(names, grant, length) == 0 && (names[length] == ':' || names[length] == 0))
				return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -1 : fd;
			names = strchr(names, ':');
			if (names != NULL)
				names++;
		}
	errno = ENOENT;
	return -1;
}

#ifdef __cplusplus
}
#endif

#endif
