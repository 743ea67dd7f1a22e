/* notify N FILE [-one-core | -sync]

   The price of a transparent open: the target's openat is stopped by seccomp user notification, the
   supervisor reads the path once, checks that the notification still stands, opens FILE itself, and injects
   and answers in one step with ADDFD|SEND. The target closes what it got.
   -one-core pins both to one core. -sync sets SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (Linux 6.6), which
   tells the scheduler that the waker is about to sleep, so the other may run on the same core. */
#define _GNU_SOURCE
#include "measure.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Newer than the headers of Debian 12. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

static int stop_opens(void) {
    struct sock_filter notify_openat[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof notify_openat / sizeof notify_openat[0], .filter = notify_openat};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        die("no_new_privs");
    int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                           SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &filter);
    if (listener < 0)
        die("load the filter with a listener");
    return listener;
}

static _Noreturn void be_target(int supervisor, const char *path, long n) {
    int listener = stop_opens();
    send_packet(supervisor, "l", 1, &listener, 1);
    close(listener);
    samples_begin(n);
    for (long i = 0; i < n; i++) {
        int64_t requested = now();
        int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
        if (fd < 0)
            die("the stopped open");
        close(fd);
        sample(now() - requested);
    }
    samples_print();
    _exit(0);
}

static void answer_open(int listener, const char *granted) {
    struct seccomp_notif request;
    memset(&request, 0, sizeof request); /* the kernel refuses a request that is not zeroed */
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request))
        die("SECCOMP_IOCTL_NOTIF_RECV");
    char path[256] = "";
    struct iovec here = {.iov_base = path, .iov_len = strlen(granted) + 1};
    struct iovec there = {.iov_base = (void *)request.data.args[1], .iov_len = here.iov_len};
    if (process_vm_readv(request.pid, &here, 1, &there, 1, 0) != (ssize_t)here.iov_len)
        die("read the target's path");
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &request.id))
        die("SECCOMP_IOCTL_NOTIF_ID_VALID");
    if (strcmp(path, granted)) {
        fprintf(stderr, "notify: the target asked for another path\n");
        _exit(125);
    }
    int fd = open(granted, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die(granted);
    struct seccomp_notif_addfd answer = {
        .id = request.id, .flags = SECCOMP_ADDFD_FLAG_SEND, .srcfd = fd, .newfd_flags = O_CLOEXEC};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &answer) < 0)
        die("SECCOMP_IOCTL_NOTIF_ADDFD");
    close(fd);
}

int main(int argc, char **argv) {
    long n = iterations(argc, argv);
    bool one_core = argc == 4 && !strcmp(argv[3], "-one-core");
    bool sync_wake_up = argc == 4 && !strcmp(argv[3], "-sync");
    if (argc < 3 || argc > 4 || (argc == 4 && !one_core && !sync_wake_up) || strlen(argv[2]) > 255) {
        fprintf(stderr, "usage: notify N FILE [-one-core | -sync]\n");
        return 125;
    }
    if (one_core)
        stay_on_this_core();

    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        die("socketpair");
    pid_t target = clone_process(0);
    if (target == 0) {
        close(ends[0]);
        be_target(ends[1], argv[2], n);
    }
    close(ends[1]);
    char word;
    int listener, count;
    if (receive_packet(ends[0], &word, 1, &listener, &count) != 1 || count != 1) {
        fprintf(stderr, "notify: the target sent no listener\n");
        return 125;
    }
    if (sync_wake_up && ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP))
        die("SECCOMP_IOCTL_NOTIF_SET_FLAGS");
    for (long i = 0; i < n; i++)
        answer_open(listener, argv[2]);
    wait_success(target);
    return 0;
}
