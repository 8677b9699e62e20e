#include "fuzz.h"

#include <stdio.h>

void fuzz_failed(const char *rule, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, rule);
    abort();
}
