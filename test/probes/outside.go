package probes

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// marker begins everything that a probe must not reach (MARKER in program/probe.h).
const marker = "bulkhead-probe-secret"

// Outside is what the probes aim at: a secret file, a neighbour process, servers.
type Outside struct {
	Targets []string // KEY=VALUE, as the program takes them
	Secret  string   // the contents of the secret file
	Victim  int      // the neighbour's pid

	leaks  []*os.File // descriptors a careless launcher passes on
	undone []func()
}

// NewOutside sets everything up, with its files in directory. Close undoes it.
func NewOutside(program, directory string) (*Outside, error) {
	o := &Outside{Secret: marker + " of the host"}
	steps := []func(program, directory string) error{
		o.makeFiles, o.makeHandles, o.makeServers, o.nameNamespaces, o.startVictim,
	}
	for _, step := range steps {
		if err := step(program, directory); err != nil {
			o.Close()
			return nil, err
		}
	}
	return o, nil
}

// Close undoes in the reverse order.
func (o *Outside) Close() {
	for len(o.undone) > 0 {
		last := len(o.undone) - 1
		o.undone[last]()
		o.undone = o.undone[:last]
	}
}

func (o *Outside) target(key string, value any) {
	o.Targets = append(o.Targets, fmt.Sprintf("%s=%v", key, value))
}

func (o *Outside) secretPath(directory string) string { return filepath.Join(directory, "secret") }

func (o *Outside) makeFiles(_, directory string) error {
	secret := o.secretPath(directory)
	if err := os.WriteFile(secret, []byte(o.Secret), 0o600); err != nil {
		return err
	}
	state := filepath.Join(directory, "state-of-launcher")
	if err := os.Mkdir(state, 0o755); err != nil {
		return err
	}
	shared := fmt.Sprintf("/dev/shm/bulkhead-probe-%d", os.Getpid())
	if err := os.WriteFile(shared, []byte(o.Secret), 0o644); err != nil {
		return err
	}
	o.undone = append(o.undone, func() { os.Remove(shared) })
	for _, path := range []string{secret, directory} {
		leak, err := os.Open(path)
		if err != nil {
			return err
		}
		o.leaks = append(o.leaks, leak)
		o.undone = append(o.undone, func() { leak.Close() })
	}
	o.target("PROBE_HOST_SECRET", secret)
	o.target("PROBE_STATE_DIRECTORY", state)
	o.target("PROBE_SHM_FILE", shared)
	o.nameBlockDevice()
	return o.nameDevice(secret)
}

// nameBlockDevice tells a disk that root may open here: a kernel may keep even
// root from the one that it runs on.
func (o *Outside) nameBlockDevice() {
	nodes, _ := filepath.Glob("/dev/*")
	for _, node := range nodes {
		var status unix.Stat_t
		if unix.Lstat(node, &status) != nil || status.Mode&unix.S_IFMT != unix.S_IFBLK {
			continue
		}
		disk, err := os.Open(node)
		if err != nil {
			continue
		}
		disk.Close()
		o.target("PROBE_BLOCK_DEVICE", fmt.Sprintf("%d:%d", unix.Major(status.Rdev), unix.Minor(status.Rdev)))
		return
	}
}

// nameDevice tells which disk has the secret and where on it, for the probes that
// go round the mounts. A file system without a block device has nothing to tell.
func (o *Outside) nameDevice(secret string) error {
	var status unix.Stat_t
	if err := unix.Stat(secret, &status); err != nil {
		return err
	}
	device := fmt.Sprintf("%d:%d", unix.Major(status.Dev), unix.Minor(status.Dev))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	best, onDevice := "", ""
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		root, mounted := fields[3], fields[4]
		relative, err := filepath.Rel(mounted, secret)
		if fields[2] == device && err == nil && !strings.HasPrefix(relative, "..") && len(mounted) > len(best) {
			best, onDevice = mounted, filepath.Join(root, relative)
		}
	}
	if unix.Major(status.Dev) == 0 || onDevice == "" {
		return nil
	}
	o.target("PROBE_HOST_DEVICE", device)
	o.target("PROBE_DEVICE_SECRET", onDevice)
	return nil
}

func (o *Outside) makeHandles(_, directory string) error {
	if err := o.targetHandle("PROBE_SECRET_HANDLE", unix.AT_FDCWD, o.secretPath(directory), 0); err != nil {
		return err
	}
	// Handles of namespaces came with Linux 6.18; without them the probe is untested.
	_ = o.targetHandle("PROBE_NETNS_HANDLE", unix.AT_FDCWD, "/proc/self/ns/net", unix.AT_SYMLINK_FOLLOW)
	return nil
}

func (o *Outside) targetHandle(key string, directory int, path string, flags int) error {
	handle, _, err := unix.NameToHandleAt(directory, path, flags)
	if err != nil {
		return fmt.Errorf("name_to_handle_at %s: %w", path, err)
	}
	o.target(key, fmt.Sprintf("%d:%x", handle.Type(), handle.Bytes()))
	return nil
}

func (o *Outside) makeServers(_, directory string) error {
	abstract := fmt.Sprintf("bulkhead-probe-%d", os.Getpid())
	path := filepath.Join(directory, "socket")
	for _, listen := range []struct{ key, network, address, value string }{
		{"PROBE_ABSTRACT_SOCKET", "unix", "@" + abstract, abstract},
		{"PROBE_UNIX_SOCKET", "unix", path, path},
		{"PROBE_TCP_PORT", "tcp4", "127.0.0.1:0", ""},
	} {
		listener, err := net.Listen(listen.network, listen.address)
		if err != nil {
			return err
		}
		o.undone = append(o.undone, func() { listener.Close() })
		go o.greet(listener)
		if address, ok := listener.Addr().(*net.TCPAddr); ok {
			listen.value = fmt.Sprint(address.Port)
		}
		o.target(listen.key, listen.value)
	}
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	o.undone = append(o.undone, func() { packets.Close() })
	go o.answer(packets)
	o.target("PROBE_UDP_PORT", packets.LocalAddr().(*net.UDPAddr).Port)
	return nil
}

func (o *Outside) greet(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		io.WriteString(connection, o.Secret)
		connection.Close()
	}
}

func (o *Outside) answer(packets net.PacketConn) {
	buffer := make([]byte, 64)
	for {
		_, from, err := packets.ReadFrom(buffer)
		if err != nil {
			return
		}
		packets.WriteTo([]byte(o.Secret), from)
	}
}

func (o *Outside) nameNamespaces(_, _ string) error {
	for _, name := range []string{"cgroup", "ipc", "mnt", "net", "pid", "uts"} {
		var status unix.Stat_t
		if err := unix.Stat("/proc/self/ns/"+name, &status); err != nil {
			return err
		}
		o.target("PROBE_HOST_"+strings.ToUpper(name), status.Ino)
	}
	return nil
}

// startVictim starts the neighbour. It ends when its standard input does, so it
// ends with this process, however that ends.
func (o *Outside) startVictim(program, _ string) error {
	o.target("PROBE_IPC_KEY", 0x62000000+os.Getpid())
	o.target("PROBE_QUEUE", fmt.Sprintf("/bulkhead-probe-%d", os.Getpid()))
	o.target("PROBE_KEY", fmt.Sprintf("bulkhead-probe-%d", os.Getpid()))
	victim := exec.Command(program, append([]string{"victim"}, o.Targets...)...)
	victim.Dir = "/"
	victim.Env = []string{"SECRET_OF_VICTIM=" + o.Secret}
	victim.Stderr = os.Stderr
	input, err := victim.StdinPipe()
	if err != nil {
		return err
	}
	output, err := victim.StdoutPipe()
	if err != nil {
		return err
	}
	if err := victim.Start(); err != nil {
		return err
	}
	o.undone = append(o.undone, func() {
		input.Close()
		victim.Wait()
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the victim did not start: %w", err)
	}
	var pid, descriptor, memory, messages, queue, key int
	var address string
	if _, err := fmt.Sscanf(line, "pid=%d address=%s fd=%d shm=%d msg=%d mq=%d key=%d",
		&pid, &address, &descriptor, &memory, &messages, &queue, &key); err != nil {
		return fmt.Errorf("the victim said %q: %w", line, err)
	}
	if min(descriptor, memory, messages, queue, key) < 0 {
		return fmt.Errorf("the victim could not make all that probes aim at: %s", line)
	}
	o.Victim = pid
	o.target("PROBE_VICTIM_PID", pid)
	o.target("PROBE_VICTIM_ADDRESS", address)
	o.target("PROBE_VICTIM_FD", descriptor)
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	// Handles of processes came with Linux 6.14; without them the probe is untested.
	_ = o.targetHandle("PROBE_VICTIM_HANDLE", pidfd, "", unix.AT_EMPTY_PATH)
	return nil
}
