/* A decoder that follows a wild pointer, as after an overflow. */
#include <unistd.h>

int main(void)
{
	char byte;

	read(0, &byte, 1);
	*(volatile char *)0 = byte;
	return 0;
}
