/* What else a socket lends: options, requests and protocols by which one reaches
 * more than its address, or code in the kernel that nobody else uses. */
#include "probe.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894c
#endif
#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (0x89e0 + 0) /* SIOCPROTOPRIVATE, linux/un.h */
#endif
#ifndef TCP_REPAIR
#define TCP_REPAIR 19
#endif

static int pair(void)
{
	int both[2];
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) ? -1 : both[0];
}

/* A descriptor of the namespace, to enter it by. */
static enum verdict namespace_of_socket(void)
{
	int fd = pair();
	if (fd < 0)
		return refused("socketpair");
	int namespace = ioctl(fd, SIOCGSKNS);
	return namespace < 0 ? refused("SIOCGSKNS") : escaped("has its socket's network namespace");
}

/* The file of a unix socket, as the one who made it could open it. */
static enum verdict file_of_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *directory = writable_directory();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return refused("socket");
	if (!directory)
		return stopped("no directory can be written");
	snprintf(address.sun_path, sizeof address.sun_path, "%s/.bulkhead-probe-%d", directory, (int)getpid());
	if (bind(fd, (struct sockaddr *)&address, sizeof address))
		return refused("bind");
	int file = ioctl(fd, SIOCUNIXFILE);
	int failure = errno;
	unlink(address.sun_path);
	errno = failure;
	return file < 0 ? refused("SIOCUNIXFILE") : escaped("has a descriptor of a socket's file");
}

/* Protocols beside TCP and UDP: each a module of its own, with holes of its own. */
static enum verdict protocols(void)
{
	static const struct { int kind, protocol; const char *name; } rare[] = {
		{ SOCK_STREAM, 132, "SCTP" }, { 6 /* SOCK_DCCP */, 33, "DCCP" }, { SOCK_STREAM, 262, "MPTCP" },
		{ SOCK_STREAM, 256, "SMC" },  { SOCK_DGRAM, 136, "UDP-Lite" },   { SOCK_DGRAM, 115, "L2TP" },
	};
	int failure = 0;

	for (size_t i = 0; i < sizeof rare / sizeof rare[0]; i++)
		for (int family = AF_INET; family; family = family == AF_INET ? AF_INET6 : 0) {
			int fd = socket(family, rare[i].kind | SOCK_CLOEXEC, rare[i].protocol);
			if (fd >= 0) {
				close(fd);
				return escaped("made a socket of %s", rare[i].name);
			}
			failure = errno;
		}
	errno = failure;
	return refused("socket");
}

static enum verdict set(int fd, int level, int option, const char *name, const char *what)
{
	int value = 1;
	if (fd < 0)
		return refused("socket");
	if (setsockopt(fd, level, option, &value, sizeof value))
		return refused(name);
	return escaped("%s", what);
}

static enum verdict mark(void)
{
	return set(pair(), SOL_SOCKET, SO_MARK, "SO_MARK", "marks its packets for the firewall's rules");
}

static enum verdict buffers(void)
{
	return set(pair(), SOL_SOCKET, SO_RCVBUFFORCE, "SO_RCVBUFFORCE", "has buffers of any size");
}

/* A connection that was never made: the kernel believes the numbers that it is told. */
static enum verdict repair(void)
{
	return set(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), IPPROTO_TCP, TCP_REPAIR, "TCP_REPAIR",
		   "may make connections up");
}

static enum verdict privileged_port(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), failure = EADDRINUSE;
	if (fd < 0)
		return refused("socket");
	for (uint16_t port = 1023; port > 600; port--) {
		struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		if (!bind(fd, (struct sockaddr *)&address, sizeof address))
			return escaped("has port %d, which is root's", port);
		if (errno != EADDRINUSE)
			failure = errno;
	}
	errno = failure;
	return refused("bind");
}

/* Another process' name in a message: servers decide by it. */
static enum verdict credentials(void)
{
	struct ucred forged = { .pid = (pid_t)init_pid(), .uid = geteuid(), .gid = getegid() };
	union { struct cmsghdr header; char space[CMSG_SPACE(sizeof forged)]; } control = { 0 };
	struct iovec byte = { "x", 1 };
	struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };

	if (is_own_process(forged.pid))
		return stopped("process 1 of this pid namespace is the probe");
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_CREDENTIALS;
	control.header.cmsg_len = CMSG_LEN(sizeof forged);
	memcpy(CMSG_DATA(&control.header), &forged, sizeof forged);
	int fd = pair();
	if (fd < 0)
		return refused("socketpair");
	if (sendmsg(fd, &message, 0) != 1)
		return refused("sendmsg");
	return escaped("sent a message in the name of process %d", (int)forged.pid);
}

static const struct probe options_probes[] = {
	{ "socket-namespace", "get a socket's network namespace", "SIOCGSKNS", "seccomp, capabilities", namespace_of_socket },
	{ "socket-file", "get a descriptor of a socket's file", "SIOCUNIXFILE", "seccomp, capabilities", file_of_socket },
	{ "rare-protocols", "make a socket of a protocol nobody needs", "socket(2), CVE-2021-3772, CVE-2017-6074", "seccomp", protocols },
	{ "packet-mark", "mark packets for the firewall", "socket(7)", "seccomp, capabilities", mark },
	{ "force-buffers", "have buffers beyond the limit of the machine", "socket(7)", "seccomp, capabilities", buffers },
	{ "tcp-repair", "make a TCP connection up", "tcp(7)", "seccomp, capabilities", repair },
	{ "privileged-port", "listen where only root may", "ip(7)", "seccomp, network namespace", privileged_port },
	{ "forged-credentials", "send a message in another process's name", "unix(7)", "capabilities", credentials },
};
THEME(options);
