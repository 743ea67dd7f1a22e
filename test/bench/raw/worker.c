/* worker N ROOT [-net] [-tree] [-first] [-asked] [-processor] [-group DIR [-limit FILE=VALUE]... -enter FILE]... -- PROGRAM ARGUMENT...

   The limit for a worker. A compartment is prepared once: a process in its own user, pid, mount, ipc, uts,
   network and cgroup namespaces with ROOT as its root, as Bulkhead's init will be. From it N workers are
   started, one after the other, each in fresh pid, mount and ipc namespaces (with -net a network
   namespace too) with its own /proc and /tmp, a Landlock ruleset of ten rules, no capabilities,
   no_new_privs and a 60-rule filter (with -tree arranged for binary search).

   Without -asked the init itself is the requester, which is the bare limit. With -asked the request comes
   over a socket from the privileged process outside, as it will in Bulkhead, and the sample ends when that
   process has the answer. Each -group (they imply -asked) is a cgroup in which the outside process makes a leaf,
   writes its limits and passes a descriptor of the file by which the worker enters; the leaf is removed
   before the sample ends. With -processor (which implies -asked too) every sample is the processor time of all three, the
   outside process, the init and the worker, divided by N. */
#define _GNU_SOURCE
#include "measure.h"
#include "walls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_GROUPS = MOST_DESCRIPTORS, MOST_LIMITS = 4 };

struct limit {
    char *file;
    const char *value;
};

struct group {
    const char *path;
    int directory;
    struct limit limits[MOST_LIMITS];
    int limit_count;
    const char *enter;
};

static struct group groups[MOST_GROUPS];
static int group_count;
static const char *root;
static char **program;
static uint64_t worker_namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC;
static bool first, processor;
static int stamps[2] = {-1, -1};

/* ---- inside: the init of the compartment and its workers ---- */

static _Noreturn void become_worker(const int *entries, int count) {
    /* The cgroup comes first, so that everything after it is counted. A descriptor opened by the privileged
       process carries that process's right to move tasks; "0" is whoever writes. */
    for (int i = 0; i < count; i++)
        if (write(entries[i], "0", 1) != 1)
            die("enter the cgroup leaf");
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
        die("mount the worker's /proc");
    if (mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=16m,mode=1777"))
        die("mount the worker's /tmp");
    if (first && dup2(stamps[1], 1) < 0)
        die("dup2");
    no_new_privileges();
    restrict_files();
    drop_capabilities();
    load_filter();
    execv(program[0], program);
    die(program[0]);
}

/* run_worker returns the program's stamp with -first, else nothing of interest. */
static int64_t run_worker(const int *entries, int count) {
    pid_t child = clone_process(worker_namespaces);
    if (child == 0)
        become_worker(entries, count);
    for (int i = 0; i < count; i++)
        close(entries[i]);
    wait_success(child);
    return first ? read_stamp(stamps[0]) : 0;
}

static void prepare_compartment(int requests) {
    /* Whoever kills the suite must not leave a compartment behind. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL))
        die("PR_SET_PDEATHSIG");
    char mapped;
    if (read(requests, &mapped, 1) != 1)
        die("wait until the ids are mapped");
    change_root(root);
    if (mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, NULL))
        die("mount /tmp");
    open_shared_directories();
    if (first)
        stamp_pipe(stamps);
}

static void measure_here(long n) {
    samples_begin(n);
    for (long i = 0; i < n; i++) {
        int64_t requested = now();
        int64_t stamp = run_worker(NULL, 0);
        sample((first ? stamp : now()) - requested);
    }
    samples_print();
}

static void answer_requests(int requests) {
    char request;
    int entries[MOST_DESCRIPTORS], count;
    while (receive_packet(requests, &request, 1, entries, &count) > 0) {
        int64_t stamp = run_worker(entries, count);
        send_packet(requests, &stamp, sizeof stamp, NULL, 0);
    }
}

/* ---- outside: the privileged process ---- */

static void write_id_map(pid_t pid, const char *name) {
    /* The compartment's root is nobody of importance outside. */
    static const char map[] = "0 100000 65536";
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, map, strlen(map)) < 0)
        die(path);
    close(fd);
}

static void write_file(int directory, const char *name, const char *value) {
    int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        die(name);
    close(fd);
}

static int make_leaf(const struct group *group, const char *name) {
    if (mkdirat(group->directory, name, 0755))
        die(group->path);
    int leaf = openat(group->directory, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (leaf < 0)
        die(group->path);
    for (int i = 0; i < group->limit_count; i++)
        write_file(leaf, group->limits[i].file, group->limits[i].value);
    int entry = openat(leaf, group->enter, O_WRONLY | O_CLOEXEC);
    if (entry < 0)
        die(group->enter);
    close(leaf);
    return entry;
}

static void remove_leaf(const struct group *group, const char *name) {
    /* A leaf can stay busy for a moment after its last process was reaped. */
    int64_t deadline = now() + 1000000000;
    while (unlinkat(group->directory, name, AT_REMOVEDIR))
        if (errno != EBUSY || now() > deadline)
            die("remove the cgroup leaf");
}

static void measure_from_outside(long n, int requests) {
    char name[32];
    snprintf(name, sizeof name, "worker-%d", getpid());
    samples_begin(n);
    int64_t begun = processor ? processor_time() : 0;
    for (long i = 0; i < n; i++) {
        int64_t requested = now();
        int entries[MOST_GROUPS];
        for (int g = 0; g < group_count; g++)
            entries[g] = make_leaf(&groups[g], name);
        send_packet(requests, "s", 1, entries, group_count);
        for (int g = 0; g < group_count; g++)
            close(entries[g]);
        int64_t stamp;
        int none;
        if (receive_packet(requests, &stamp, sizeof stamp, NULL, &none) != sizeof stamp) {
            fprintf(stderr, "worker: the compartment ended early\n");
            for (int g = 0; g < group_count; g++)
                remove_leaf(&groups[g], name);
            _exit(125);
        }
        for (int g = 0; g < group_count; g++)
            remove_leaf(&groups[g], name);
        if (!processor)
            sample((first ? stamp : now()) - requested);
    }
    int64_t each = processor ? (processor_time() - begun) / n : 0;
    for (long i = 0; processor && i < n; i++)
        sample(each);
    samples_print();
}

static _Noreturn void usage(void) {
    fprintf(stderr, "usage: worker N ROOT [-net] [-tree] [-first] [-asked] [-processor] [-group DIR [-limit FILE=VALUE]... -enter FILE]... "
                    "-- PROGRAM ARGUMENT...\n");
    _exit(125);
}

static void read_group_option(const char *option, char *value) {
    if (!strcmp(option, "-group") && group_count < MOST_GROUPS) {
        groups[group_count++] = (struct group){.path = value, .directory = open(value, O_PATH | O_DIRECTORY | O_CLOEXEC)};
        if (groups[group_count - 1].directory < 0)
            die(value);
        return;
    }
    if (group_count == 0)
        usage();
    struct group *last = &groups[group_count - 1];
    char *equals = strchr(value, '=');
    if (!strcmp(option, "-enter")) {
        last->enter = value;
    } else if (!strcmp(option, "-limit") && equals && last->limit_count < MOST_LIMITS) {
        *equals = 0;
        last->limits[last->limit_count++] = (struct limit){.file = value, .value = equals + 1};
    } else {
        usage();
    }
}

int main(int argc, char **argv) {
    long n = iterations(argc, argv);
    bool asked = false;
    root = argc > 2 ? argv[2] : "";
    int at = 3;
    for (; at < argc && strcmp(argv[at], "--"); at++) {
        if (!strcmp(argv[at], "-net"))
            worker_namespaces |= CLONE_NEWNET;
        else if (!strcmp(argv[at], "-tree"))
            filter_as_tree();
        else if (!strcmp(argv[at], "-first"))
            first = true;
        else if (!strcmp(argv[at], "-asked"))
            asked = true;
        else if (!strcmp(argv[at], "-processor"))
            asked = processor = true;
        else if (at + 1 < argc)
            read_group_option(argv[at], argv[at + 1]), at++;
        else
            usage();
    }
    if (at + 1 >= argc)
        usage();
    program = argv + at + 1;
    for (int g = 0; g < group_count; g++)
        if (!groups[g].enter)
            usage();
    asked = asked || group_count > 0;

    if (processor)
        account_begin();
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        die("socketpair");
    pid_t init = clone_process(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP);
    if (init == 0) {
        close(ends[0]);
        prepare_compartment(ends[1]);
        if (asked)
            answer_requests(ends[1]);
        else
            measure_here(n);
        _exit(0);
    }
    close(ends[1]);
    write_id_map(init, "uid_map");
    write_id_map(init, "gid_map");
    send_packet(ends[0], "m", 1, NULL, 0);
    if (asked)
        measure_from_outside(n, ends[0]);
    close(ends[0]);
    wait_success(init);
    if (processor)
        account_end();
    return 0;
}
