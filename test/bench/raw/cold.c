/* cold N ROOT [-net] [-first] -- PROGRAM ARGUMENT...

   The limit for a cold start: clone3 into fresh pid, mount, ipc and uts namespaces (with -net a network
   namespace too), pivot_root to ROOT, /proc, a 60-rule filter, exec. */
#define _GNU_SOURCE
#include "measure.h"
#include "walls.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void become(const char *root, char **program, int out) {
    change_root(root);
    if (out >= 0 && dup2(out, 1) < 0)
        die("dup2");
    no_new_privileges();
    load_filter();
    execv(program[0], program);
    die(program[0]);
}

int main(int argc, char **argv) {
    long n = iterations(argc, argv);
    const char *root = argc > 2 ? argv[2] : "";
    bool first = false;
    uint64_t namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
    int at = 3;
    for (; at < argc && strcmp(argv[at], "--"); at++) {
        if (!strcmp(argv[at], "-net"))
            namespaces |= CLONE_NEWNET;
        else if (!strcmp(argv[at], "-first"))
            first = true;
        else
            break;
    }
    if (at + 1 >= argc || strcmp(argv[at], "--")) {
        fprintf(stderr, "usage: cold N ROOT [-net] [-first] -- PROGRAM ARGUMENT...\n");
        return 125;
    }
    char **program = argv + at + 1;

    int stamps[2] = {-1, -1};
    if (first)
        stamp_pipe(stamps);
    samples_begin(n);
    for (long i = 0; i < n; i++) {
        int64_t requested = now();
        pid_t child = clone_process(namespaces);
        if (child == 0)
            become(root, program, stamps[1]);
        wait_success(child);
        int64_t ended = now();
        sample((first ? read_stamp(stamps[0]) : ended) - requested);
    }
    samples_print();
    return 0;
}
