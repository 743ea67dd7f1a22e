/* start N [-first] [-flight K [-processor]] [-rest MS] [-open FILE] [-hide DIR] -- PROGRAM ARGUMENT...

   Starts PROGRAM N times, one after the other. A sample is the time from just before clone3 until the
   end was seen; with -first, until the time that PROGRAM (ending in `stamp`) printed. With a plain program this
   is the limit without isolation, and every peer is measured by this same program.
   -flight K keeps K of them running at once, all on one core; every sample is then the time of all divided by N, with
   -processor their processor time and this program's own.
   -rest MS waits that long before each start: the kernel goes on taking namespaces and cgroups apart when a program has
   ended, beside the next start.
   -open FILE gives PROGRAM the file at descriptor 9, for peers that read their filter from one.
   -hide DIR unmounts DIR in a mount namespace of its own before the first start, for peers that refuse a machine
   because of what is mounted there. */
#define _GNU_SOURCE
#include "measure.h"

#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

enum { OPENED_AT = 9 };

static void hide(const char *dir) {
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        die("take a mount namespace");
    if (umount2(dir, MNT_DETACH))
        die(dir);
}

static _Noreturn void become(char **program, const char *open_file, int out) {
    if (open_file) {
        int fd = open(open_file, O_RDONLY);
        if (fd < 0)
            die(open_file);
        if (dup2(fd, OPENED_AT) < 0)
            die("dup2");
    }
    if (dup2(out, 1) < 0)
        die("dup2");
    execv(program[0], program);
    die(program[0]);
}

static void measure_throughput(long n, long flight, char **program, const char *open_file, int out, int64_t (*clock)(void)) {
    stay_on_this_core();
    long all = n < flight ? flight : n;
    int64_t begun = clock();
    for (long i = 0; i < all + flight; i++) {
        if (i >= flight)
            wait_success(-1);
        if (i >= all)
            continue;
        pid_t child = clone_process(0);
        if (child == 0)
            become(program, open_file, out);
    }
    int64_t each = (clock() - begun) / all;
    for (long i = 0; i < n; i++)
        sample(each);
}

int main(int argc, char **argv) {
    long n = iterations(argc, argv), flight = 1, rest = 0;
    bool first = false, processor = false;
    const char *open_file = NULL;
    int at = 2;
    for (; at < argc && strcmp(argv[at], "--"); at++) {
        if (!strcmp(argv[at], "-first"))
            first = true;
        else if (!strcmp(argv[at], "-processor"))
            processor = true;
        else if (!strcmp(argv[at], "-flight") && at + 1 < argc)
            flight = strtol(argv[++at], NULL, 10);
        else if (!strcmp(argv[at], "-rest") && at + 1 < argc)
            rest = strtol(argv[++at], NULL, 10);
        else if (!strcmp(argv[at], "-open") && at + 1 < argc)
            open_file = argv[++at];
        else if (!strcmp(argv[at], "-hide") && at + 1 < argc)
            hide(argv[++at]);
        else
            break;
    }
    if (at + 1 >= argc || strcmp(argv[at], "--")) {
        fprintf(stderr, "usage: start N [-first] [-flight K [-processor]] [-rest MS] [-open FILE] [-hide DIR] -- PROGRAM ARGUMENT...\n");
        return 125;
    }
    char **program = argv + at + 1;

    int stamps[2] = {-1, -1};
    if (first)
        stamp_pipe(stamps);
    /* What a peer prints must not be taken for a sample. */
    int out = first ? stamps[1] : open("/dev/null", O_WRONLY | O_CLOEXEC);
    samples_begin(n);
    if (processor)
        account_begin();
    if (flight > 1)
        measure_throughput(n, flight, program, open_file, out, processor ? processor_time : now);
    for (long i = 0; flight == 1 && i < n; i++) {
        if (rest)
            usleep(rest * 1000);
        int64_t requested = now();
        pid_t child = clone_process(0);
        if (child == 0)
            become(program, open_file, out);
        wait_success(child);
        int64_t ended = now();
        sample((first ? read_stamp(stamps[0]) : ended) - requested);
    }
    if (processor)
        account_end();
    samples_print();
    return 0;
}
