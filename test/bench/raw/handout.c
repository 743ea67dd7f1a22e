/* handout N FILE [-direct | -one-core]

   The price of one descriptor handed out: the asker sends a request, the giver opens FILE, passes the
   descriptor over SOCK_SEQPACKET and closes its own, the asker closes what it got. -direct is the same open
   and close without a giver; -one-core pins both ends to one core, so that no wake-up crosses cores. */
#define _GNU_SOURCE
#include "measure.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
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
    bool direct = argc == 4 && !strcmp(argv[3], "-direct");
    bool one_core = argc == 4 && !strcmp(argv[3], "-one-core");
    if (argc < 3 || argc > 4 || (argc == 4 && !direct && !one_core)) {
        fprintf(stderr, "usage: handout N FILE [-direct | -one-core]\n");
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
        give(ends[1], path);
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
