/* Kernel settings in /proc and /sys, and cgroups. What can be written is written
 * back as it was. */
#include "probe.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/utsname.h>

static enum verdict core_pattern(void) { return write_back("/proc/sys/kernel/core_pattern"); }
static enum verdict kernel_setting(void) { return write_back("/proc/sys/kernel/randomize_va_space"); }
static enum verdict memory_setting(void) { return write_back("/proc/sys/vm/swappiness"); }
static enum verdict file_setting(void) { return write_back("/proc/sys/fs/protected_symlinks"); }
static enum verdict network_setting(void) { return write_back("/proc/sys/net/ipv4/ip_forward"); }
static enum verdict interrupt_setting(void) { return write_back("/proc/irq/default_smp_affinity"); }

/* The helper that the kernel runs as root for device events. Where the kernel has
 * none, the power switch helper is of the same kind. */
static enum verdict kernel_helper(void)
{
	if (!access("/sys/kernel/uevent_helper", F_OK))
		return write_back("/sys/kernel/uevent_helper");
	return write_back("/proc/sys/kernel/poweroff_cmd");
}

static enum verdict sys_setting(void)
{
	static const char *const settings[] = { "/sys/kernel/mm/ksm/sleep_millisecs",
						"/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs",
						"/sys/kernel/rcu_expedited" };
	enum verdict verdict = STOPPED;

	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
		verdict = write_back(settings[i]);
		if (verdict == ESCAPED)
			break;
	}
	return verdict;
}

/* A format registered with binfmt_misc runs an interpreter of the writer's choice
 * for everybody. The status is switched on where it is on. */
static enum verdict binary_formats(void)
{
	const char *directory = existing_directory();
	char path[64], status[16] = "";

	own_mount_namespace();
	if (mount("probe", directory, "binfmt_misc", 0, NULL))
		return refused("mount");
	snprintf(path, sizeof path, "%s/status", directory);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return refused("status of binfmt_misc");
	if (read(fd, status, sizeof status) < 0)
		return refused("status of binfmt_misc");
	ssize_t wrote = write(fd, strncmp(status, "enabled", 7) ? "0" : "1", 1);
	enum verdict verdict = wrote == 1 ? escaped("wrote the status of binfmt_misc") : refused("binfmt_misc");
	close(fd);
	umount2(directory, MNT_DETACH);
	return verdict;
}

static enum verdict set_host_name(void)
{
	struct utsname names;

	if (uname(&names))
		return refused("uname");
	if (sethostname(names.nodename, strlen(names.nodename)))
		return refused("sethostname");
	struct stat status;
	long host = target_number("PROBE_HOST_UTS", 0);
	if (host && !stat("/proc/self/ns/uts", &status) && (long)status.st_ino != host)
		return stopped("sets only the name of a uts namespace of its own");
	return escaped("set (the same) name of the host");
}

/* The hierarchies of cgroup v1 that this process is in: each can be mounted again.
 * One without controllers comes last, for machines that have only v2. */
static int mount_cgroup1(const char *directory)
{
	char line[256], controllers[128];
	FILE *groups = fopen("/proc/self/cgroup", "re");
	int failed = -1;

	while (groups && failed && fgets(line, sizeof line, groups)) {
		if (sscanf(line, "%*d:%127[^:]:", controllers) != 1 || controllers[0] == '/')
			continue;
		char options[160];
		int named = !strncmp(controllers, "name=", 5);
		snprintf(options, sizeof options, "%s%s", named ? "none," : "", controllers);
		failed = mount("probe", directory, "cgroup", 0, options);
	}
	if (groups)
		fclose(groups);
	if (failed)
		failed = mount("probe", directory, "cgroup", 0, "none,name=bulkhead-probe");
	return failed;
}

static enum verdict write_release_agent(void)
{
	const char *directory = existing_directory();
	char path[64];

	if (mount_cgroup1(directory))
		return refused("mount of cgroup");
	snprintf(path, sizeof path, "%s/release_agent", directory);
	enum verdict verdict = write_back(path);
	umount2(directory, MNT_DETACH);
	return verdict;
}

static enum verdict release_agent(void)
{
	own_mount_namespace();
	return write_release_agent();
}

/* The road of CVE-2022-0492: a user namespace and a cgroup namespace give the
 * right to mount cgroup v1; the kernel once forgot to ask whether its
 * release_agent, run as root outside, may be written. The mount is what the
 * probe counts, because the kernel of today refuses the rest. */
static enum verdict release_agent_by_user_namespace(void)
{
	const char *directory = existing_directory();

	if (own_user_and_mount_namespace())
		return refused("unshare");
	if (unshare(CLONE_NEWCGROUP))
		return refused("unshare(CLONE_NEWCGROUP)");
	if (mount_cgroup1(directory))
		return refused("mount of cgroup");
	umount2(directory, MNT_DETACH);
	return escaped("mounted cgroup v1 from a user namespace");
}

/* Moves itself into the cgroup at the top of what is visible. In the host's
 * hierarchy that is one without limits. */
static enum verdict leave_cgroup(void)
{
	static const char *const files[] = { "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/pids/cgroup.procs",
					     "/sys/fs/cgroup/memory/cgroup.procs",
					     "/sys/fs/cgroup/unified/cgroup.procs" };
	enum verdict verdict = STOPPED;

	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		if (!write_file(files[i], "0"))
			return escaped("moved itself by %s", files[i]);
		verdict = refused(files[i]);
	}
	return verdict;
}

static enum verdict set_domain_name(void)
{
	struct utsname name;

	if (uname(&name))
		return refused("uname");
	if (setdomainname(name.domainname, strlen(name.domainname)))
		return refused("setdomainname");
	return escaped("set the domain name (to what it was)");
}

static enum verdict next_pid(void) { return write_back("/proc/sys/kernel/ns_last_pid"); }

static const struct probe settings_probes[] = {
	{ "CVE-2022-0811", "set the program that handles core dumps", "CVE-2022-0811 (CRI-O), core(5)",
	  "mount namespace, user", core_pattern },
	{ "proc-sys-kernel", "change a setting of the kernel", "proc(5)", "mount namespace, user", kernel_setting },
	{ "proc-sys-vm", "change a setting of memory", "proc(5)", "mount namespace, user", memory_setting },
	{ "proc-sys-fs", "change a setting of files", "proc(5)", "mount namespace, user", file_setting },
	{ "proc-sys-net", "change a setting of the network", "proc(5)", "mount namespace, user", network_setting },
	{ "CVE-2015-3630", "change what else /proc lets write", "CVE-2015-3630 (Docker)", "mount namespace, user",
	  interrupt_setting },
	{ "kernel-helper", "set a program that the kernel runs as root", "kernel documentation",
	  "mount namespace, user", kernel_helper },
	{ "sys-kernel", "change a setting in /sys", "sysfs(5)", "mount namespace, user", sys_setting },
	{ "binfmt-misc", "register an interpreter for everybody", "binfmt_misc documentation",
	  "capabilities, seccomp", binary_formats },
	{ "host-name", "set the host's name", "sethostname(2)", "uts namespace, capabilities", set_host_name },
	{ "release-agent", "set the program that cgroup v1 runs as root", "cgroups(7)", "capabilities, seccomp",
	  release_agent },
	{ "CVE-2022-0492", "mount cgroup v1 by a user namespace", "CVE-2022-0492", "seccomp",
	  release_agent_by_user_namespace },
	{ "CVE-2023-25809", "leave the limits by writing to the cgroup file system", "CVE-2023-25809 (runc)",
	  "mount namespace", leave_cgroup },
	{ "domain-name", "set the host's domain name", "setdomainname(2)", "uts namespace, capabilities", set_domain_name },
	{ "next-pid", "choose the pid of the next process", "pid_namespaces(7)", "mount namespace, user", next_pid },
};
THEME(settings);
