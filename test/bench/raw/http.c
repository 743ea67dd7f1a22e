/* http: reads one request's head from descriptor 0 and answers it on descriptor 1 with a page of 1 KiB: the HTTP service of
   the per-connection cases, in inetd's manner. */
#include <string.h>
#include <unistd.h>

int main(void) {
    static char answer[] = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n";
    char head[4096], page[1024];
    size_t got = 0;
    while (got < sizeof head - 1) {
        ssize_t part = read(0, head + got, sizeof head - 1 - got);
        if (part <= 0)
            return 1;
        got += part;
        head[got] = 0;
        if (strstr(head, "\r\n\r\n"))
            break;
    }
    memset(page, 'x', sizeof page);
    return write(1, answer, sizeof answer - 1) < 0 || write(1, page, sizeof page) != sizeof page;
}
