/*
 * Escape probes: each tries one way out of a compartment, or into a neighbour.
 *
 * A probe says ESCAPED only after the effect is there (the secret was read, the
 * other process was reached, the state of the machine was changed), STOPPED when
 * the attempt was refused, and UNTESTED when what it aims at is not there, so
 * that nothing can be concluded. Run bare as root, a probe must say ESCAPED: one
 * that cannot fail proves nothing.
 *
 * Bare runs must do no damage: values are written back as they were read, mounts
 * are made in a mount namespace of the probe's own, floods are bounded.
 */
#ifndef PROBE_H
#define PROBE_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* Everything outside that a probe may find begins with these bytes, so that a
 * probe recognizes a secret without having been told it. */
#define MARKER "bulkhead-probe-secret"

enum verdict { STOPPED, ESCAPED, UNTESTED };

struct probe {
	const char *name;
	const char *title;
	const char *reference; /* CVE, manual page or publication */
	const char *wall;      /* what is expected to stop it */
	enum verdict (*run)(void);
};

struct theme {
	const char *name;
	const struct probe *probes;
	size_t count;
};

#define THEME(word)                                                    \
	const struct theme word##_theme = { #word, word##_probes,      \
					    sizeof word##_probes / sizeof word##_probes[0] }

/* verdict.c */
enum verdict stopped(const char *format, ...) __attribute__((format(printf, 1, 2)));
enum verdict escaped(const char *format, ...) __attribute__((format(printf, 1, 2)));
enum verdict untested(const char *format, ...) __attribute__((format(printf, 1, 2)));
enum verdict refused(const char *attempt); /* STOPPED "attempt: ERRNO" */
const char *verdict_name(enum verdict verdict);
const char *verdict_reason(void);
const char *errno_name(int number);
const char *signal_name(int number);

/* targets.c: what lies outside, told by KEY=VALUE arguments or the environment */
void add_target(const char *assignment);
const char *target(const char *key);
long target_number(const char *key, long otherwise);
unsigned probe_seconds(void);
void give_up_in_time(int fd);
long init_pid(void);
void remember_own_process(void);
int is_own_process(long pid);
enum verdict no_target(const char *key);
int has_marker(int fd);
enum verdict read_secret(int fd, const char *way);
struct file_handle *target_handle(const char *key);

/* ground.c: what the probe stands on */
const char *writable_directory(void);
const char *existing_directory(void);
int own_mount_namespace(void);
int own_user_and_mount_namespace(void);
int write_file(const char *path, const char *text);
enum verdict write_back(const char *path);
int has_capability(int number);
int wait_for(pid_t pid);

/* victim.c: the neighbour that probes try to reach */
int be_victim(void);

#endif
