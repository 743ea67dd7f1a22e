/* echo: sends back what it reads from descriptor 0 until the other end has no more: the service of the
   per-connection cases, in inetd's manner with the connection at descriptors 0 and 1. */
#include <unistd.h>

int main(void) {
    char bytes[4096];
    ssize_t got;
    while ((got = read(0, bytes, sizeof bytes)) > 0)
        if (write(1, bytes, got) != got)
            return 1;
    return got < 0;
}
