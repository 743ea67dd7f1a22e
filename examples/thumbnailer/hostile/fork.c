/*
 * A decoder that is a fork bomb: every process forks and goes on forking. They count themselves and end
 * at 2000, so that a machine whose walls do not hold survives it.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
	atomic_int *processes = mmap(NULL, sizeof *processes, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (processes == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	while (atomic_load(processes) < 2000)
		if (fork() == 0)
			atomic_fetch_add(processes, 1);
	fprintf(stderr, "escaped: 2000 processes\n");
	return 1;
}
