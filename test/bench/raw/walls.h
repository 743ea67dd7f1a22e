/* The walls that the raw programs build, each as few system calls as the kernel needs for it. */
#ifndef WALLS_H
#define WALLS_H

#include <linux/filter.h>

/* change_root makes the prepared directory the root of the caller's own mount namespace, with a fresh
   /proc, and lets go of the old root. */
void change_root(const char *root);

/* filter_program is the linear allow-list of calls.def: architecture, x32, then one jump for each call. */
struct sock_fprog filter_program(void);
void load_filter(void);

/* filter_as_tree makes load_filter load a program that decides the same by binary search. While loading, the
   kernel runs a filter once for each system call that it knows, to cache which are always allowed, so a short
   way to each decision makes the loading cheaper, too. */
void filter_as_tree(void);

/* The part of the Landlock ruleset that every worker shares: descriptors of the compartment's own
   directories, opened once. Each worker adds the rules for what only it has, /proc and /tmp. */
void open_shared_directories(void);
void restrict_files(void);

void no_new_privileges(void);
void drop_capabilities(void);

#endif
