/* handout N FILE [-direct | [-checked] [-one-core]]

   The price of one descriptor handed out: the asker sends a request, the giver opens FILE, passes the
   descriptor over SOCK_SEQPACKET and closes its own, the asker closes what it got. -direct is the same open
   and close without a giver; -one-core pins both ends to one core, so that no wake-up crosses cores. With
   -checked the giver makes the calls that one needs who serves many askers, waits for nobody and opens beneath a
   directory: epoll_wait, openat2 without a way out and without waiting, a look at what it is, fcntl. */
#define _GNU_SOURCE
#include "measure.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_file(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die(path);
    return fd;
}

static void give(int asker, const char *path) {
    char request;
    int none;
    while (receive_packet(asker, &request, 1, NULL, &none) > 0) {
        int fd = open_file(path);
        send_packet(asker, &request, 1, &fd, 1);
        close(fd);
    }
}

static int open_checked(int root, const char *name) {
    struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    struct stat it;
    int fd = syscall(SYS_openat2, root, name, &how, sizeof how);
    if (fd < 0 || fstat(fd, &it) || !S_ISREG(it.st_mode) || fcntl(fd, F_SETFL, O_RDONLY))
        die(name);
    return fd;
}

static void give_checked(int asker, const char *path) {
    char directory[256] = "/", request;
    const char *slash = strrchr(path, '/');
    if (!slash || slash - path >= (ptrdiff_t)sizeof directory)
        die("an absolute path is needed");
    memcpy(directory, path, slash - path + 1);
    int root = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC), loop = epoll_create1(EPOLL_CLOEXEC), none;
    struct epoll_event event = {.events = EPOLLIN};
    if (root < 0 || loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, asker, &event))
        die(directory);
    while (epoll_wait(loop, &event, 1, -1) == 1 && receive_packet(asker, &request, 1, NULL, &none) > 0) {
        int fd = open_checked(root, slash + 1);
        send_packet(asker, &request, 1, &fd, 1);
        close(fd);
    }
}

static int ask(int giver) {
    char answer;
    int fd, count;
    send_packet(giver, "o", 1, NULL, 0);
    if (receive_packet(giver, &answer, 1, &fd, &count) != 1 || count != 1) {
        fprintf(stderr, "handout: no descriptor came\n");
        _exit(125);
    }
    return fd;
}

int main(int argc, char **argv) {
    long n = iterations(argc, argv);
    bool direct = false, checked = false, one_core = false, understood = argc >= 3;
    for (int i = 3; i < argc; i++) {
        if (!strcmp(argv[i], "-direct"))
            direct = true;
        else if (!strcmp(argv[i], "-checked"))
            checked = true;
        else if (!strcmp(argv[i], "-one-core"))
            one_core = true;
        else
            understood = false;
    }
    if (!understood || (direct && (checked || one_core))) {
        fprintf(stderr, "usage: handout N FILE [-direct | [-checked] [-one-core]]\n");
        return 125;
    }
    const char *path = argv[2];
    if (one_core)
        stay_on_this_core();

    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        die("socketpair");
    pid_t giver = clone_process(0);
    if (giver == 0) {
        close(ends[0]);
        (checked ? give_checked : give)(ends[1], path);
        _exit(0);
    }
    close(ends[1]);
    samples_begin(n);
    for (long i = 0; i < n; i++) {
        int64_t requested = now();
        close(direct ? open_file(path) : ask(ends[0]));
        sample(now() - requested);
    }
    close(ends[0]);
    wait_success(giver);
    samples_print();
    return 0;
}
