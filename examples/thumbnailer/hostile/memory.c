/* A decoder that eats memory. It ends at 1 GiB, so that a machine whose walls do not hold survives it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	for (int mebibytes = 0; mebibytes < 1024; mebibytes++) {
		char *piece = malloc(1 << 20);

		if (!piece) {
			fprintf(stderr, "memory refused after %d MiB\n", mebibytes);
			return 1;
		}
		memset(piece, 'x', 1 << 20);
	}
	fprintf(stderr, "escaped: 1 GiB of memory\n");
	return 1;
}
