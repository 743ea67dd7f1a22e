/* A program that says that it is ready, by a newline on descriptor 3, and
 * then does nothing. */
#include <unistd.h>

int main(void)
{
	if (write(3, "\n", 1) != 1)
		return 1;
	for (;;)
		pause();
}
