/* Sockets: to servers outside, and of families that open kernel code. Every
 * server of the runner greets with the marker. Only loopback is ever used. */
#include "probe.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static struct sockaddr_in loopback(long port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons((uint16_t)port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

/* Connects and expects the greeting. */
static enum verdict greeted(int fd, const void *address, socklen_t length, const char *way)
{
	if (fd < 0)
		return refused("socket");
	give_up_in_time(fd);
	if (connect(fd, address, length))
		return refused("connect");
	if (!has_marker(fd))
		return stopped("%s: connected, but no greeting", way);
	return escaped("greeted by a server outside over %s", way);
}

static socklen_t abstract_address(struct sockaddr_un *address, const char *name)
{
	memset(address, 0, sizeof *address);
	address->sun_family = AF_UNIX;
	size_t length = strnlen(name, sizeof address->sun_path - 1);
	memcpy(address->sun_path + 1, name, length);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

static enum verdict abstract_socket(void)
{
	struct sockaddr_un address;
	const char *name = target("PROBE_ABSTRACT_SOCKET");

	if (!name)
		return no_target("PROBE_ABSTRACT_SOCKET");
	socklen_t length = abstract_address(&address, name);
	return greeted(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), &address, length, "an abstract socket");
}

static enum verdict path_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = target("PROBE_UNIX_SOCKET");

	if (!path)
		return no_target("PROBE_UNIX_SOCKET");
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	return greeted(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), &address, sizeof address, "a unix socket");
}

static enum verdict tcp(int protocol, const char *way)
{
	struct sockaddr_in address = loopback(target_number("PROBE_TCP_PORT", 0));

	if (!address.sin_port)
		return no_target("PROBE_TCP_PORT");
	return greeted(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, protocol), &address, sizeof address, way);
}

static enum verdict tcp_connect(void) { return tcp(0, "TCP"); }
static enum verdict mptcp_connect(void) { return tcp(IPPROTO_MPTCP, "MPTCP"); }

static enum verdict tcp_mapped(void)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6,
					.sin6_port = htons((uint16_t)target_number("PROBE_TCP_PORT", 0)) };

	if (!address.sin6_port)
		return no_target("PROBE_TCP_PORT");
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.sin6_addr);
	return greeted(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), &address, sizeof address,
		       "an IPv4 address in IPv6");
}

/* Connects without connect(2): rules that only watch connect are passed by. */
static enum verdict tcp_fast_open(void)
{
	struct sockaddr_in address = loopback(target_number("PROBE_TCP_PORT", 0));

	if (!address.sin_port)
		return no_target("PROBE_TCP_PORT");
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return refused("socket");
	give_up_in_time(fd);
	/* A network without the server says so, and need not be waited for. */
	setsockopt(fd, IPPROTO_IP, IP_RECVERR, &(int){ 1 }, sizeof(int));
	if (sendto(fd, "hello", 5, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&address, sizeof address) < 0)
		return refused("sendto");
	return has_marker(fd) ? escaped("greeted over TCP fast open, without connect")
			      : stopped("no greeting over TCP fast open");
}

static enum verdict udp_send(void)
{
	char bytes[sizeof MARKER];
	struct sockaddr_in address = loopback(target_number("PROBE_UDP_PORT", 0));

	if (!address.sin_port)
		return no_target("PROBE_UDP_PORT");
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return refused("socket");
	give_up_in_time(fd);
	/* A network without the server says so, and need not be waited for. */
	setsockopt(fd, IPPROTO_IP, IP_RECVERR, &(int){ 1 }, sizeof(int));
	if (sendto(fd, "hello", 5, 0, (struct sockaddr *)&address, sizeof address) < 0)
		return refused("sendto");
	if (recv(fd, bytes, sizeof bytes - 1, 0) != sizeof bytes - 1)
		return refused("recv");
	return memcmp(bytes, MARKER, sizeof bytes - 1) ? stopped("another answer")
						       : escaped("answered by a UDP server outside");
}

/* Sees every packet of the network namespace, among them what it sends itself. */
static enum verdict packet_capture(void)
{
	char frame[256];
	int capture = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	if (capture < 0)
		return refused("socket(AF_PACKET)");
	give_up_in_time(capture);
	struct sockaddr_ll where = { .sll_family = AF_PACKET,
				     .sll_protocol = htons(ETH_P_ALL),
				     .sll_ifindex = (int)if_nametoindex("lo") };
	if (bind(capture, (struct sockaddr *)&where, sizeof where))
		return refused("bind(AF_PACKET)");
	struct sockaddr_in address = loopback(9);
	int sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sendto(sender, MARKER, strlen(MARKER), 0, (struct sockaddr *)&address, sizeof address) < 0)
		return stopped("a packet socket on a network without packets (%s)", errno_name(errno));
	for (int i = 0; i < 64; i++) {
		ssize_t length = recv(capture, frame, sizeof frame, 0);
		if (length < 0)
			return refused("recv");
		if (memmem(frame, (size_t)length, MARKER, strlen(MARKER)))
			return escaped("captured packets of the loopback interface");
	}
	return stopped("a packet socket that saw nothing of it");
}

static enum verdict raw_icmp(void)
{
	struct sockaddr_in address = loopback(0);
	struct icmphdr request = { .type = ICMP_ECHO, .un.echo.id = htons((uint16_t)getpid()) };
	char answer[256];

	/* The sum of the two 16-bit words that are not zero, complemented. */
	request.checksum = (uint16_t)~(uint16_t)(htons(ICMP_ECHO << 8) + request.un.echo.id);
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	if (fd < 0)
		return refused("socket(SOCK_RAW)");
	give_up_in_time(fd);
	if (sendto(fd, &request, sizeof request, 0, (struct sockaddr *)&address, sizeof address) < 0)
		return refused("sendto");
	if (recv(fd, answer, sizeof answer, 0) < 0)
		return refused("recv");
	return escaped("sent and received ICMP by a raw socket");
}

/* vsock knows no namespaces before Linux 7: it leads to the hypervisor from any
 * compartment. Bound only; nothing is sent to the machine's host. */
static enum verdict vsock(void)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = VMADDR_PORT_ANY };
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return refused("socket(AF_VSOCK)");
	if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1))
		return refused("bind(AF_VSOCK)");
	return escaped("listens for the hypervisor on a vsock port");
}

/* Families that almost no program needs and that held many kernel holes. Those
 * with a probe of their own (packet, vsock) and the everyday ones are left out. */
static enum verdict rare_families(void)
{
	static const struct {
		int family, type;
		const char *name;
	} rare[] = {
		{ 15, SOCK_RAW, "AF_KEY" },   { 3, SOCK_DGRAM, "AF_AX25" },	{ 4, SOCK_DGRAM, "AF_IPX" },
		{ 5, SOCK_DGRAM, "AF_APPLETALK" }, { 9, SOCK_SEQPACKET, "AF_X25" }, { 21, SOCK_SEQPACKET, "AF_RDS" },
		{ 24, SOCK_STREAM, "AF_PPPOX" },  { 26, SOCK_STREAM, "AF_LLC" },    { 29, SOCK_RAW, "AF_CAN" },
		{ 30, SOCK_STREAM, "AF_TIPC" },	  { 31, SOCK_RAW, "AF_BLUETOOTH" }, { 38, SOCK_SEQPACKET, "AF_ALG" },
		{ 39, SOCK_STREAM, "AF_NFC" },	  { 41, SOCK_DGRAM, "AF_KCM" },	    { 42, SOCK_DGRAM, "AF_QIPCRTR" },
		{ 43, SOCK_STREAM, "AF_SMC" },	  { 44, SOCK_RAW, "AF_XDP" },
	};
	int failure = EAFNOSUPPORT;

	for (size_t i = 0; i < sizeof rare / sizeof rare[0]; i++) {
		int fd = socket(rare[i].family, rare[i].type | SOCK_CLOEXEC, 0);
		if (fd >= 0)
			return escaped("made a socket of the family %s", rare[i].name);
		if (errno != EAFNOSUPPORT)
			failure = errno;
	}
	return stopped("no rare family: %s", errno_name(failure));
}

/* IPT_SO_SET_REPLACE and its neighbours parse user memory in the kernel. */
static enum verdict iptables_tables(void)
{
	struct {
		char name[32];
		unsigned valid_hooks, hook_entry[5], underflow[5], num_entries, size;
	} info = { .name = "filter" };
	socklen_t length = sizeof info;
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);

	if (fd < 0)
		return refused("socket(SOCK_RAW)");
	if (getsockopt(fd, IPPROTO_IP, 64 /* IPT_SO_GET_INFO */, &info, &length))
		return refused("getsockopt");
	return escaped("read the packet filter's table of %u bytes", info.size);
}

static const struct probe sockets_probes[] = {
	{ "abstract-socket", "connect to an abstract unix socket outside", "unix(7)", "network namespace, Landlock",
	  abstract_socket },
	{ "unix-socket", "connect to a unix socket in the file system outside", "unix(7)", "mount namespace",
	  path_socket },
	{ "tcp-loopback", "connect to a TCP server on the host's loopback", "CVE-2025-9074", "network namespace",
	  tcp_connect },
	{ "tcp-mapped", "connect to an IPv4 address by an IPv6 socket", "ipv6(7)", "network namespace", tcp_mapped },
	{ "tcp-fast-open", "connect without connect(2)", "tcp(7)", "network namespace", tcp_fast_open },
	{ "mptcp", "connect by multipath TCP", "RFC 8684", "network namespace", mptcp_connect },
	{ "udp-loopback", "exchange a packet with a UDP server outside", "udp(7)", "network namespace", udp_send },
	{ "packet-capture", "capture packets by a packet socket", "packet(7)", "capabilities, network namespace",
	  packet_capture },
	{ "raw-icmp", "send ICMP by a raw socket", "raw(7)", "capabilities, network namespace", raw_icmp },
	{ "vsock", "listen for the hypervisor", "vsock(7)", "seccomp", vsock },
	{ "rare-socket-families", "make a socket of a family nobody needs", "socket(2)", "seccomp", rare_families },
	{ "iptables-tables", "read the packet filter's tables", "iptables(8)", "capabilities, network namespace",
	  iptables_tables },
};
THEME(sockets);
