package monitor

import "golang.org/x/sys/unix"

// option is a socket option whose value is an int, and which no privilege is
// needed for and no other address is reached by.
type option struct {
	level, name int
	doubled     bool // the kernel answers twice what was set, socket(7)
}

// kept are the options that a program sets before it binds, and that its
// connections inherit or its datagrams are read by. It would miss them on the
// granted socket, which is another one.
var kept = map[int][]option{
	unix.AF_UNSPEC: { // every family
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, false},
		{unix.SOL_SOCKET, unix.SO_OOBINLINE, false},
		{unix.SOL_SOCKET, unix.SO_RCVLOWAT, false},
		{unix.SOL_SOCKET, unix.SO_PASSCRED, false},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMP, false},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, false},
		{unix.SOL_SOCKET, unix.SO_RCVBUF, true},
		{unix.SOL_SOCKET, unix.SO_SNDBUF, true},
	},
	unix.AF_INET: {
		{unix.IPPROTO_IP, unix.IP_PKTINFO, false},
		{unix.IPPROTO_IP, unix.IP_RECVTOS, false},
		{unix.IPPROTO_IP, unix.IP_RECVTTL, false},
		{unix.IPPROTO_IP, unix.IP_RECVERR, false},
		{unix.IPPROTO_IP, unix.IP_TOS, false},
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, false},
	},
	unix.AF_INET6: {
		{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, false},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, false},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, false},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, false},
		{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, false},
		{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, false},
	},
}

// keptOfTCP are the same of TCP, for both of its families.
var keptOfTCP = []option{
	{unix.IPPROTO_TCP, unix.TCP_NODELAY, false},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, false},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, false},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, false},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, false},
	{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, false},
}

// keepOptions gives the granted socket the options of the program's own. What
// the kernel does not do for one, it would not have done for the other.
func keepOptions(from, to int) {
	family, err := unix.GetsockoptInt(from, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return
	}
	all := append(append([]option(nil), kept[unix.AF_UNSPEC]...), kept[family]...)
	if family != unix.AF_UNIX && socketType(from) == unix.SOCK_STREAM {
		all = append(all, keptOfTCP...)
	}
	for _, o := range all {
		wanted, err := unix.GetsockoptInt(from, o.level, o.name)
		if err != nil {
			continue
		}
		// Only what differs: setting a buffer's size ends its tuning.
		if has, err := unix.GetsockoptInt(to, o.level, o.name); err != nil || has == wanted {
			continue
		}
		if o.doubled {
			wanted /= 2
		}
		unix.SetsockoptInt(to, o.level, o.name, wanted)
	}
}
