#define _GNU_SOURCE
#include "walls.h"
#include "measure.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

void change_root(const char *root) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        die("make / private");
    if (mount(root, root, NULL, MS_BIND, NULL))
        die("bind the root");
    if (chdir(root))
        die("chdir to the root");
    /* /proc comes before the old root goes: in a user namespace a fresh procfs may only be mounted while
       another one is fully visible. */
    if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
        die("mount /proc");
    if (syscall(SYS_pivot_root, ".", "."))
        die("pivot_root");
    if (umount2(".", MNT_DETACH))
        die("let go of the old root");
}

enum { X32_BIT = 0x40000000, DENY = SECCOMP_RET_ERRNO | 1 /* EPERM */ };

/* How every filter begins. Jumps count from the line after them. */
#define CHECK_ARCHITECTURE \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)), \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0), \
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS), \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)), \
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1), \
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

static struct sock_filter allow_list[] = {
    CHECK_ARCHITECTURE,
#define CALL(name) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
#include "calls.def"
#undef CALL
    BPF_STMT(BPF_RET | BPF_K, DENY),
};

static const unsigned allowed[] = {
#define CALL(name) SYS_##name,
#include "calls.def"
#undef CALL
};

/* Ranges of call numbers with one answer, and at worst twice as many instructions. */
static struct range {
    unsigned from;
    unsigned answer;
} ranges[2 * LENGTH(allowed) + 1];

static struct sock_filter tree[4 * LENGTH(allowed) + 16] = {CHECK_ARCHITECTURE};
static unsigned short tree_length;

static void add_subtree(int first, int end) {
    if (end - first == 1) {
        tree[tree_length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, ranges[first].answer);
        return;
    }
    int middle = (first + end) / 2, here = tree_length++;
    add_subtree(first, middle);
    int lower_half = tree_length - here - 1;
    tree[here] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, ranges[middle].from, lower_half, 0);
    add_subtree(middle, end);
}

static int is_allowed(unsigned number) {
    for (size_t i = 0; i < LENGTH(allowed); i++)
        if (allowed[i] == number)
            return 1;
    return 0;
}

void filter_as_tree(void) {
    enum { PAST_THE_LAST = 1024 };
    int count = 0;
    for (unsigned number = 0; number < PAST_THE_LAST; number++) {
        unsigned answer = is_allowed(number) ? SECCOMP_RET_ALLOW : DENY;
        if (count == 0 || ranges[count - 1].answer != answer)
            ranges[count++] = (struct range){.from = number, .answer = answer};
    }
    tree_length = LENGTH(((struct sock_filter[]){CHECK_ARCHITECTURE}));
    add_subtree(0, count);
}

struct sock_fprog filter_program(void) {
    if (tree_length > 0)
        return (struct sock_fprog){.len = tree_length, .filter = tree};
    return (struct sock_fprog){.len = LENGTH(allow_list), .filter = allow_list};
}

void load_filter(void) {
    struct sock_fprog program = filter_program();
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
        die("load the seccomp filter");
}

enum {
    READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
    RUN = READ | LANDLOCK_ACCESS_FS_EXECUTE,
    CHANGE = READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG,
    /* Everything that the first Landlock ABI knows: thirteen rights, bits 0 to 12. */
    HANDLED = (1 << 13) - 1,
};

static struct rule {
    const char *path;
    int access;
    int directory;
} rules[] = {
    {"/bin", RUN, -1},  {"/lib", RUN, -1},  {"/usr", RUN, -1}, {"/etc", READ, -1},
    {"/dev", READ, -1}, {"/home", READ, -1}, {"/run", READ, -1}, {"/var", READ, -1},
};

static int open_path(const char *path) {
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        die(path);
    return fd;
}

void open_shared_directories(void) {
    for (size_t i = 0; i < LENGTH(rules); i++)
        rules[i].directory = open_path(rules[i].path);
}

static void add_rule(int ruleset, int access, int directory) {
    struct landlock_path_beneath_attr beneath = {.allowed_access = access, .parent_fd = directory};
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0))
        die("landlock_add_rule");
}

void restrict_files(void) {
    struct landlock_ruleset_attr handled = {.handled_access_fs = HANDLED};
    int ruleset = syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
    if (ruleset < 0)
        die("landlock_create_ruleset");
    for (size_t i = 0; i < LENGTH(rules); i++)
        add_rule(ruleset, rules[i].access, rules[i].directory);
    int own_proc = open_path("/proc"), own_tmp = open_path("/tmp");
    add_rule(ruleset, READ, own_proc);
    add_rule(ruleset, CHANGE, own_tmp);
    if (syscall(SYS_landlock_restrict_self, ruleset, 0))
        die("landlock_restrict_self");
}

void no_new_privileges(void) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        die("no_new_privs");
}

/* With no_new_privs an exec gains nothing back, even for user 0, so emptying the sets once is enough. */
void drop_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capset, &header, none))
        die("capset");
}
