/* serve PORT -- PROGRAM ARGUMENT...

   The least that a per-connection server can do: accept on 127.0.0.1:PORT, clone3, exec PROGRAM with
   the connection at descriptors 0 and 1. No isolation. It runs until it is killed. */
#define _GNU_SOURCE
#include "measure.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 4 || strcmp(argv[2], "--")) {
        fprintf(stderr, "usage: serve PORT -- PROGRAM ARGUMENT...\n");
        return 125;
    }
    /* The kernel reaps: the server has nothing to learn from how a connection's program ended. */
    signal(SIGCHLD, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) ||
        bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, SOMAXCONN))
        die("listen");
    for (;;) {
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            die("accept");
        if (clone_process(0) == 0) {
            if (dup2(connection, 0) < 0 || dup2(connection, 1) < 0)
                die("dup2");
            execv(argv[3], argv + 3);
            die(argv[3]);
        }
        close(connection);
    }
}
