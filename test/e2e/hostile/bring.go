package hostile

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"bulkhead/broker/wire"
)

// bringPlan brings the keeper a plan, as sandbox reload does: SOCKET PLAN, both by
// descriptor, because a compartment does not have the paths.
func bringPlan(arguments []string) int {
	answer, err := bring(number(arguments[0]), number(arguments[1]))
	if err != nil {
		fmt.Println("bring:", err)
		return 1
	}
	fmt.Println(answer)
	return 0
}

func bring(socket, source int) (string, error) {
	encoded, err := os.ReadFile("/proc/self/fd/" + strconv.Itoa(source))
	if err != nil {
		return "", err
	}
	plan, err := unix.MemfdCreate("plan", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return "", err
	}
	if _, err := unix.Write(plan, encoded); err != nil {
		return "", err
	}
	if _, err := unix.FcntlInt(uintptr(plan), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return "", err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(socket)}); err != nil {
		return "", fmt.Errorf("connect: %w", err)
	}
	var m wire.Message
	b, err := m.Begin(wire.Header{Kind: wire.Request, Op: wire.Apply, ID: 1, FDs: 1}).Bytes()
	if err != nil {
		return "", err
	}
	if err := unix.Sendmsg(fd, b, unix.UnixRights(plan), nil, unix.MSG_NOSIGNAL); err != nil {
		return "refused", nil // it was hung up on
	}
	var answer [wire.MaximumSize]byte
	n, err := unix.Read(fd, answer[:])
	if err != nil || n == 0 {
		return "refused", nil
	}
	h, body, err := wire.Parse(answer[:n], 0)
	if err != nil {
		return "", err
	}
	if h.Status != 0 {
		return "not applied: " + body.String(), nil
	}
	return "taken", nil
}
