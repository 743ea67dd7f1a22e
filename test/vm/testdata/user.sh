# Run in the machine with --user by the self-test: what the lane promises to an ordinary user.
set -e
fail() { echo "user.sh: $*" >&2; exit 1; }

[ "$(id -u):$(id -g):$(id -un)" = 1000:1000:tester ] || fail "$(id)"
grep -q '^CapEff:.0000000000000000$' /proc/self/status || fail "has capabilities"
[ "$(pwd)" = /home/tester ] && touch "$HOME/x" "$XDG_RUNTIME_DIR/x" || fail "home or runtime directory"
grep -q '^tester:100000:65536$' /etc/subuid && grep -q '^tester:100000:65536$' /etc/subgid || fail "subordinate ids"
! touch /etc/x 2>/dev/null || fail "may write to /etc"
echo "through /dev/stderr" >/dev/stderr

cgroup=/sys/fs/cgroup/user/tester
[ "$(cat /proc/self/cgroup)" = 0::/user/tester/session ] || fail "$(cat /proc/self/cgroup)"
mkdir $cgroup/child
echo "+cpu +io +memory +pids +cpuset" >$cgroup/cgroup.subtree_control
echo $$ >$cgroup/child/cgroup.procs
echo 64M >$cgroup/child/memory.max
[ "$(cat /proc/self/cgroup)" = 0::/user/tester/child ] || fail "did not move"
! { echo 1G >$cgroup/memory.max; } 2>/dev/null || fail "may change its own limit"
! { echo $$ >/sys/fs/cgroup/cgroup.procs; } 2>/dev/null || fail "may leave its cgroup"

/probe/static
echo "the user is served"
