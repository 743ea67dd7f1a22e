/* The other system call tables of x86-64: a filter that forgets to check the
 * architecture sees other calls than those that run. */
#include "probe.h"

#include <setjmp.h>
#include <sys/mman.h>

static sigjmp_buf back;

static void jump_back(int number)
{
	siglongjmp(back, number);
}

/* Without 32-bit emulation the instruction itself faults. */
static long int80(long number, long first, long second, long third)
{
	long result;

	signal(SIGSEGV, jump_back);
	if (sigsetjmp(back, 1))
		return -ENOSYS;
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(first), "c"(second), "d"(third)
			 : "memory", "r8", "r9", "r10", "r11");
	return result;
}

static enum verdict x32_getpid(void)
{
	long pid = syscall(0x40000000 | SYS_getpid);
	return pid == getpid() ? escaped("made a call of the x32 table") : refused("x32 getpid");
}

static enum verdict int80_getpid(void)
{
	long pid = int80(20 /* getpid of i386 */, 0, 0, 0);
	if (pid == getpid())
		return escaped("made a call of the 32-bit table by int 0x80");
	errno = (int)-pid;
	return refused("int 0x80 getpid");
}

/* socketcall hides which socket is asked for behind a pointer. */
static enum verdict int80_socket(void)
{
	uint32_t *arguments = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (arguments == MAP_FAILED)
		return refused("mmap");
	arguments[0] = 16; /* AF_NETLINK */
	arguments[1] = 3;  /* SOCK_RAW */
	arguments[2] = 15; /* NETLINK_KOBJECT_UEVENT */
	long fd = int80(102 /* socketcall of i386 */, 1 /* SYS_SOCKET */, (long)(uintptr_t)arguments, 0);
	if (fd >= 0)
		return escaped("made a netlink socket by int 0x80 and socketcall");
	errno = (int)-fd;
	return refused("int 0x80 socketcall");
}

static enum verdict int80_unshare(void)
{
	long result = int80(310 /* unshare of i386 */, 0x10000000 /* CLONE_NEWUSER */, 0, 0);
	if (result == 0)
		return escaped("made a user namespace by int 0x80");
	errno = (int)-result;
	return refused("int 0x80 unshare");
}

static const struct probe abi_probes[] = {
	{ "x32", "make a call of the x32 table", "seccomp(2)", "seccomp", x32_getpid },
	{ "int80", "make a call of the 32-bit table", "seccomp(2)", "seccomp", int80_getpid },
	{ "int80-socketcall", "make a refused socket by the 32-bit table", "seccomp(2)", "seccomp", int80_socket },
	{ "int80-unshare", "make a user namespace by the 32-bit table", "seccomp(2)", "seccomp", int80_unshare },
};
THEME(abi);
