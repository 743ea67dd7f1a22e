# Run in the machine as root by the self-test: what the lane promises to root.
set -e
fail() { echo "root.sh: $*" >&2; exit 1; }

uname -r
[ "$(id -u)" = 0 ] || fail "uid $(id -u)"
[ "$(cat /proc/self/cgroup)" = 0::/session ] || fail "not one v2 cgroup: $(cat /proc/self/cgroup)"
! grep -q ' cgroup ' /proc/mounts || fail "a v1 hierarchy is mounted"
! mount -t cgroup -o memory none /mnt 2>/dev/null || fail "a v1 hierarchy can be mounted"
for controller in cpu io memory pids cpuset; do
	grep -qw $controller /sys/fs/cgroup/cgroup.subtree_control || fail "controller $controller is not enabled"
done
for at in /proc /sys /dev /dev/pts /dev/shm /tmp /run /sys/kernel/security /sys/fs/cgroup; do
	grep -q "^[^ ]* $at " /proc/mounts || fail "nothing is mounted at $at"
done
ping -c 1 -W 2 127.0.0.1 >/dev/null || fail "loopback is down"
[ ! -e /vm ] && [ ! -e /init ] || fail "the lane's own files are still there"

# A limit that holds proves that the controllers are more than names.
mkdir /sys/fs/cgroup/limited
echo 0 >/sys/fs/cgroup/limited/pids.max
! sh -c 'echo $$ >/sys/fs/cgroup/limited/cgroup.procs && /bin/busybox true; exit $?' 2>/dev/null || fail "pids.max does not hold"

# pivot_root is refused on a bare initramfs.
mkdir /tmp/new
unshare -m sh -c 'mount --make-rprivate / && mount -t tmpfs new /tmp/new && mkdir /tmp/new/old &&
	cp /bin/busybox /tmp/new && pivot_root /tmp/new /tmp/new/old && /busybox umount -l /old' || fail "pivot_root"

/probe/static
/probe/dynamic >/dev/null
echo "root is served"
