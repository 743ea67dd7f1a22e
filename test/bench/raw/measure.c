#define _GNU_SOURCE
#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* The group that counts, of cgroup version 1. */
static char account[64];

static void write_pid(const char *directory) {
    char path[128];
    snprintf(path, sizeof path, "%s/cgroup.procs", directory);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1)
        die(path);
    close(fd);
}

void account_begin(void) {
    snprintf(account, sizeof account, "/sys/fs/cgroup/cpuacct/bench-%d", getpid());
    if (mkdir(account, 0755))
        die(account);
    write_pid(account);
}

int64_t processor_time(void) {
    char path[128], text[32] = "";
    usleep(50000);
    snprintf(path, sizeof path, "%s/cpuacct.usage", account);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        die(path);
    close(fd);
    return strtoll(text, NULL, 10);
}

void account_end(void) {
    write_pid("/sys/fs/cgroup/cpuacct");
    for (int tried = 0; rmdir(account) && tried < 1000; tried++)
        usleep(1000);
}

static int64_t *samples;
static long taken;

void samples_begin(long count) {
    samples = calloc(count, sizeof *samples);
    if (!samples)
        die("memory for the samples");
}

void sample(int64_t nanoseconds) { samples[taken++] = nanoseconds; }

void samples_print(void) {
    for (long i = 0; i < taken; i++)
        printf("%lld\n", (long long)samples[i]);
    if (fflush(stdout))
        die("print the samples");
}

void die(const char *what) {
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
    _exit(125);
}

long iterations(int argc, char **argv) {
    long n = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (n < 1) {
        fprintf(stderr, "%s: the first argument is the number of samples\n", program_invocation_short_name);
        _exit(125);
    }
    return n;
}

pid_t clone_process(uint64_t flags) {
    struct clone_args args = {.flags = flags, .exit_signal = SIGCHLD};
    pid_t pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid < 0)
        die("clone3");
    return pid;
}

void wait_success(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            die("waitpid");
    if (status != 0) {
        fprintf(stderr, "%s: the program under test ended with wait status %#x\n", program_invocation_short_name, status);
        _exit(125);
    }
}

void stamp_pipe(int ends[2]) {
    if (pipe2(ends, O_CLOEXEC))
        die("pipe2");
}

int64_t read_stamp(int from) {
    char line[32] = "";
    if (read(from, line, sizeof line - 1) <= 0)
        die("read the program's stamp");
    return strtoll(line, NULL, 10);
}

void send_packet(int socket, const void *bytes, size_t length, const int *descriptors, int count) {
    union {
        char space[CMSG_SPACE(MOST_DESCRIPTORS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec data = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
    }
    if (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
        die("sendmsg");
}

ssize_t receive_packet(int socket, void *bytes, size_t length, int *descriptors, int *count) {
    union {
        char space[CMSG_SPACE(MOST_DESCRIPTORS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec data = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (got < 0)
        die("recvmsg");
    *count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            *count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(descriptors, CMSG_DATA(header), *count * sizeof(int));
        }
    return got;
}

void stay_on_this_core(void) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    if (sched_setaffinity(0, sizeof one, &one))
        die("sched_setaffinity");
}
