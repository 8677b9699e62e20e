#include "base/random.h"

#include "base/assert.h"

#include <errno.h>
#include <sys/random.h>

void rayi_random_bytes(void *out, size_t size_bytes)
{
    char *at = out;

    while (size_bytes > 0) {
        ssize_t n = getrandom(at, size_bytes, 0);
        if (n < 0) {
            RAYI_ASSERT(errno == EINTR); /* the call has been there since Linux 3.17 and cannot fail otherwise */
            continue;
        }
        at += n;
        size_bytes -= (size_t)n;
    }
}

void rayi_hex(char *out, const void *bytes, size_t size_bytes)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *b = bytes;

    for (size_t i = 0; i < size_bytes; i++) {
        *out++ = digits[b[i] >> 4];
        *out++ = digits[b[i] & 15];
    }
    *out = 0;
}
