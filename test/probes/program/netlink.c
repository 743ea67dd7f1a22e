/* Netlink: the network's configuration, and the kernel code behind it. */
#include "probe.h"

#include <linux/inet_diag.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <linux/xfrm.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

static int open_netlink(int protocol)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (fd >= 0)
		give_up_in_time(fd);
	return fd;
}

static void add_attribute(struct nlmsghdr *header, int type, const void *data, size_t length)
{
	struct nlattr *attribute = (struct nlattr *)((char *)header + NLMSG_ALIGN(header->nlmsg_len));
	attribute->nla_type = (uint16_t)type;
	attribute->nla_len = (uint16_t)(NLA_HDRLEN + length);
	memcpy((char *)attribute + NLA_HDRLEN, data, length);
	header->nlmsg_len = (uint32_t)(NLMSG_ALIGN(header->nlmsg_len) + NLA_ALIGN(attribute->nla_len));
}

/* Sends one request and returns the errno that the kernel acknowledges with. */
static int acknowledged(int fd, struct nlmsghdr *header)
{
	char answer[4096];

	header->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	if (send(fd, header, header->nlmsg_len, 0) < 0)
		return errno;
	ssize_t length = recv(fd, answer, sizeof answer, 0);
	if (length < 0)
		return errno;
	struct nlmsghdr *first = (struct nlmsghdr *)answer;
	if (first->nlmsg_type != NLMSG_ERROR)
		return EPROTO;
	return -((struct nlmsgerr *)NLMSG_DATA(first))->error;
}

/* Sees an interface other than the loopback of a network of its own. */
static enum verdict list_interfaces(void)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg info;
	} request = { { sizeof request, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { .ifi_family = AF_UNSPEC } };
	char answer[32768];
	int fd = open_netlink(NETLINK_ROUTE);

	if (fd < 0)
		return refused("socket(NETLINK_ROUTE)");
	if (send(fd, &request, sizeof request, 0) < 0)
		return refused("send");
	for (;;) {
		ssize_t length = recv(fd, answer, sizeof answer, 0);
		if (length < 0)
			return refused("recv");
		for (struct nlmsghdr *message = (struct nlmsghdr *)answer; NLMSG_OK(message, length);
		     message = NLMSG_NEXT(message, length)) {
			if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR)
				return stopped("only a loopback of its own");
			struct ifinfomsg *info = NLMSG_DATA(message);
			/* Devices without a link level address of Ethernet (tunnels that every
			 * new network namespace is born with) say nothing of the host. */
			if (info->ifi_type == 1)
				return escaped("sees the host's network interface number %d", info->ifi_index);
		}
	}
}

/* Sets the loopback's MTU to what it is: the right to configure is what matters. */
static enum verdict configure_interface(void)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg info;
		char attributes[64];
	} request = { { NLMSG_LENGTH(sizeof(struct ifinfomsg)), RTM_NEWLINK, 0, 1, 0 },
		      { .ifi_family = AF_UNSPEC, .ifi_index = 1 }, { 0 } };
	uint32_t mtu = 65536;
	int fd = open_netlink(NETLINK_ROUTE);

	if (fd < 0)
		return refused("socket(NETLINK_ROUTE)");
	add_attribute(&request.header, IFLA_MTU, &mtu, sizeof mtu);
	errno = acknowledged(fd, &request.header);
	return errno ? refused("RTM_NEWLINK") : escaped("configured the loopback interface");
}

/* Lists unix sockets of this network namespace with their names. */
static enum verdict list_unix_sockets(void)
{
	struct {
		struct nlmsghdr header;
		struct unix_diag_req request;
	} request = { { sizeof request, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 },
		      { .sdiag_family = AF_UNIX, .udiag_states = ~0u, .udiag_show = UDIAG_SHOW_NAME } };
	const char *name = target("PROBE_ABSTRACT_SOCKET");
	char answer[32768];

	if (!name)
		return no_target("PROBE_ABSTRACT_SOCKET");
	int fd = open_netlink(NETLINK_SOCK_DIAG);
	if (fd < 0)
		return refused("socket(NETLINK_SOCK_DIAG)");
	if (send(fd, &request, sizeof request, 0) < 0)
		return refused("send");
	for (;;) {
		ssize_t length = recv(fd, answer, sizeof answer, 0);
		if (length < 0)
			return refused("recv");
		if (memmem(answer, (size_t)length, name, strlen(name)))
			return escaped("found the neighbour's socket by sock_diag");
		struct nlmsghdr *first = (struct nlmsghdr *)answer;
		if (first->nlmsg_type == NLMSG_DONE || first->nlmsg_type == NLMSG_ERROR)
			return stopped("no socket of others");
	}
}

static enum verdict uevents(void)
{
	struct sockaddr_nl group = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = open_netlink(NETLINK_KOBJECT_UEVENT);

	if (fd < 0)
		return refused("socket(NETLINK_KOBJECT_UEVENT)");
	if (bind(fd, (struct sockaddr *)&group, sizeof group))
		return refused("bind");
	return escaped("listens to device events of the kernel");
}

static enum verdict audit(void)
{
	struct nlmsghdr request = { sizeof request, 1000 /* AUDIT_GET */, 0, 1, 0 };
	int fd = open_netlink(NETLINK_AUDIT);

	if (fd < 0)
		return refused("socket(NETLINK_AUDIT)");
	errno = acknowledged(fd, &request);
	return errno ? refused("AUDIT_GET") : escaped("asked the audit system for its state");
}

/* Both of the next need CAP_NET_ADMIN over their network namespace only: the road
 * leads through a user namespace, as in the published exploits. A network of its
 * own also keeps a bare run from touching the host's tables. */
static int own_network(void)
{
	return unshare(CLONE_NEWNET) ? unshare(CLONE_NEWUSER | CLONE_NEWNET) : 0;
}

static enum verdict nf_tables(void)
{
	struct {
		struct nlmsghdr header;
		struct nfgenmsg message;
		char attributes[64];
	} begin = { { NLMSG_LENGTH(sizeof(struct nfgenmsg)), NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 0, 0 },
		    { .nfgen_family = AF_UNSPEC, .res_id = 0x0a00 /* NFNL_SUBSYS_NFTABLES, big endian */ }, { 0 } },
	  table = { { NLMSG_LENGTH(sizeof(struct nfgenmsg)), NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE,
		      NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK, 1, 0 },
		    { .nfgen_family = AF_INET }, { 0 } },
	  end = begin;
	char batch[512], answer[4096];

	if (own_network())
		return refused("unshare");
	int fd = open_netlink(NETLINK_NETFILTER);
	if (fd < 0)
		return refused("socket(NETLINK_NETFILTER)");
	end.header.nlmsg_type = NFNL_MSG_BATCH_END;
	add_attribute(&table.header, NFTA_TABLE_NAME, "probe", 6);
	size_t length = 0;
	memcpy(batch, &begin, begin.header.nlmsg_len);
	length += begin.header.nlmsg_len;
	memcpy(batch + length, &table, table.header.nlmsg_len);
	length += table.header.nlmsg_len;
	memcpy(batch + length, &end, end.header.nlmsg_len);
	length += end.header.nlmsg_len;
	if (send(fd, batch, length, 0) < 0)
		return refused("send");
	if (recv(fd, answer, sizeof answer, 0) < 0)
		return refused("recv");
	struct nlmsghdr *first = (struct nlmsghdr *)answer;
	errno = first->nlmsg_type == NLMSG_ERROR ? -((struct nlmsgerr *)NLMSG_DATA(first))->error : EPROTO;
	return errno ? refused("NFT_MSG_NEWTABLE") : escaped("made a table of the packet filter in a new network");
}

static enum verdict xfrm(void)
{
	struct {
		struct nlmsghdr header;
		struct xfrm_usersa_flush flush;
	} request = { { sizeof request, XFRM_MSG_FLUSHSA, 0, 1, 0 }, { .proto = 255 /* IPSEC_PROTO_ANY */ } };

	if (own_network())
		return refused("unshare");
	int fd = open_netlink(NETLINK_XFRM);
	if (fd < 0)
		return refused("socket(NETLINK_XFRM)");
	errno = acknowledged(fd, &request.header);
	/* ESRCH: there was nothing to flush, and the right to was there. */
	if (errno && errno != ESRCH)
		return refused("XFRM_MSG_FLUSHSA");
	return escaped("changed IPsec's tables in a new network");
}

static const struct probe netlink_probes[] = {
	{ "netlink-interfaces", "see the host's network interfaces", "rtnetlink(7)", "network namespace",
	  list_interfaces },
	{ "netlink-configure", "configure a network interface", "rtnetlink(7)", "capabilities", configure_interface },
	{ "sock-diag", "list a neighbour's unix sockets", "sock_diag(7)", "network namespace", list_unix_sockets },
	{ "netlink-uevent", "listen to the kernel's device events", "CVE-2009-1185", "seccomp", uevents },
	{ "netlink-audit", "ask the audit system", "auditd(8)", "seccomp, capabilities", audit },
	{ "CVE-2024-1086", "reach nf_tables by a user namespace", "CVE-2024-1086, CVE-2022-34918", "seccomp",
	  nf_tables },
	{ "CVE-2022-27666", "reach IPsec's tables by a user namespace", "CVE-2022-27666", "seccomp", xfrm },
};
THEME(netlink);
