/* Packets with descriptors over a SOCK_SEQPACKET socket (unix(7)). */
#define _GNU_SOURCE
#include "again.h"
#include "init.h"
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FDS_IN_PACKET = 16 };

int message_send(int socket, const void *data, size_t length, const int *fds, int fd_count)
{
	struct iovec part = { (void *)data, length };
	union { struct cmsghdr header; char space[CMSG_SPACE(MAX_FDS_IN_PACKET * sizeof(int))]; } control;
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (fd_count > 0) {
		memset(&control, 0, sizeof control);
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	long n;
	int tried = 0;
	do
		n = sendmsg(socket, &message, MSG_NOSIGNAL);
	while (n < 0 && again(&tried));
	return n == (long)length ? 0 : -1;
}

long message_receive(int socket, void *data, size_t size, int *fds, int *fd_count)
{
	struct iovec part = { data, size };
	union { struct cmsghdr header; char space[CMSG_SPACE(MAX_FDS_IN_PACKET * sizeof(int))]; } control;
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof control,
	};
	int room = *fd_count, got = 0, tried = 0;
	long n;
	do
		n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && again(&tried));
	*fd_count = 0;
	if (n <= 0)
		return n;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		int count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int *received = (int *)CMSG_DATA(c);
		for (int i = 0; i < count; i++) {
			if (got < room)
				fds[got++] = received[i];
			else
				close(received[i]);
		}
	}
	*fd_count = got;
	if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		/* Descriptors that did not fit are gone without a trace: what is
		 * left of such a packet must not be acted on. */
		while (got > 0)
			close(fds[--got]);
		*fd_count = 0;
		/* The packet has room for all that the monitor sends: without
		 * truncated data there was none in this process's table. */
		errno = message.msg_flags & MSG_TRUNC ? EMSGSIZE : EMFILE;
		return -1;
	}
	return n;
}
