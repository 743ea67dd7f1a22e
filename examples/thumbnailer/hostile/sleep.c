/* A decoder that does nothing and will not be asked to stop. */
#include <signal.h>
#include <unistd.h>

int main(void)
{
	for (int signal_number = 1; signal_number < NSIG; signal_number++)
		signal(signal_number, SIG_IGN);
	for (;;)
		pause();
}
