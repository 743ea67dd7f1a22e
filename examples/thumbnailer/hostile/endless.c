/* A decoder whose picture never ends: a header of huge dimensions and pixels for ever. */
#include <stdio.h>
#include <string.h>

int main(void)
{
	static char pixels[65536];

	memset(pixels, 'x', sizeof pixels);
	printf("P6 100000 1000000 255\n");
	for (;;)
		fwrite(pixels, 1, sizeof pixels, stdout);
}
