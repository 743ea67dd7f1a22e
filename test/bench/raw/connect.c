/* connect N PORT [-http] [-flight K] -- SERVER ARGUMENT...

   Starts SERVER, waits until it listens on 127.0.0.1:PORT, and takes N samples: connect, send a line, get it
   back, say that no more comes, see the server's program close. With -http the line is a request, and a page of 1 KiB
   comes back. With -flight K, K clients do so at once, and a sample is the whole time divided by N. Then it ends SERVER. */
#define _GNU_SOURCE
#include "measure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sockaddr_in server_address;
static pid_t server;

static _Noreturn void give_up(const char *what) {
    int why = errno;
    kill(server, SIGTERM);
    errno = why;
    die(what);
}

/* try_connect returns -1 when nobody listens. */
static int try_connect(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        give_up("socket");
    if (connect(fd, (struct sockaddr *)&server_address, sizeof server_address) == 0)
        return fd;
    if (errno != ECONNREFUSED)
        give_up("connect");
    close(fd);
    return -1;
}

static int http;

static void request(int fd) {
    static const char line[] = "GET / HTTP/1.0\r\nHost: bench\r\n\r\n";
    char answer[2048];
    size_t got = 0;
    ssize_t part;
    if (write(fd, line, sizeof line - 1) != sizeof line - 1)
        give_up("send the request");
    while ((part = read(fd, answer + got, sizeof answer - got)) > 0)
        got += part;
    if (part < 0 || got < 1024 || memcmp(answer, "HTTP/1.0 200", 12))
        give_up("get the page");
    close(fd);
}

static void converse(int fd) {
    static const char line[] = "one line there and back\n";
    char back[sizeof line];
    size_t got = 0;
    if (http) {
        request(fd);
        return;
    }
    if (write(fd, line, sizeof line) != sizeof line)
        give_up("send the line");
    while (got < sizeof line) {
        ssize_t part = read(fd, back + got, sizeof line - got);
        if (part <= 0)
            give_up("get the line back");
        got += part;
    }
    if (memcmp(line, back, sizeof line) || shutdown(fd, SHUT_WR) || read(fd, back, 1) != 0)
        give_up("see the server's program close");
    close(fd);
}

static void start_server(char **program) {
    server = clone_process(0);
    if (server != 0)
        return;
    /* Servers such as xinetd print their settings; only samples may reach standard output. */
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) || nowhere < 0 || dup2(nowhere, 1) < 0)
        die("prepare the server");
    execv(program[0], program);
    die(program[0]);
}

static void wait_until_listening(void) {
    int64_t deadline = now() + 5000000000;
    int fd;
    while ((fd = try_connect()) < 0) {
        if (now() > deadline || waitpid(server, NULL, WNOHANG) != 0)
            give_up("wait until the server listens");
        usleep(2000);
    }
    converse(fd);
}

static void one(void) {
    int fd = try_connect();
    if (fd < 0)
        give_up("connect");
    converse(fd);
}

/* together has as many clients as flight take n samples between them. */
static void together(long n, long flight) {
    int64_t begun = now();
    pid_t clients[64];
    for (long c = 0; c < flight; c++) {
        clients[c] = clone_process(0);
        if (clients[c] == 0) {
            for (long i = c; i < n; i += flight)
                one();
            _exit(0);
        }
    }
    for (long c = 0; c < flight; c++)
        wait_success(clients[c]);
    int64_t each = (now() - begun) / n;
    for (long i = 0; i < n; i++)
        sample(each);
}

int main(int argc, char **argv) {
    long n = iterations(argc, argv), flight = 1;
    int next = 3;
    if (next < argc && !strcmp(argv[next], "-http"))
        http = 1, next++;
    if (next + 1 < argc && !strcmp(argv[next], "-flight"))
        flight = atol(argv[next + 1]), next += 2;
    if (argc < next + 2 || strcmp(argv[next], "--") || flight < 1 || flight > 64) {
        fprintf(stderr, "usage: connect N PORT [-http] [-flight K] -- SERVER ARGUMENT...\n");
        return 125;
    }
    server_address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(atoi(argv[2])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    start_server(argv + next + 1);
    wait_until_listening();
    samples_begin(n);
    if (flight > 1)
        together(n, flight);
    for (long i = 0; flight == 1 && i < n; i++) {
        int64_t requested = now();
        one();
        sample(now() - requested);
    }
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    samples_print();
    return 0;
}
