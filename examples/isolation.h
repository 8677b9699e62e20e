/* --isolation thread|process, for the examples that can run either way. */
#ifndef ISOLATION_H
#define ISOLATION_H

#include <ray/ray.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a command line's word for it means; ends the program if it means nothing. */
static inline ray_isolation isolation_named(const char *program, const char *word)
{
    if (word && strcmp(word, "process") == 0)
        return RAY_ISOLATION_PROCESS;
    if (word && strcmp(word, "thread") == 0)
        return RAY_ISOLATION_THREAD;
    fprintf(stderr, "%s: --isolation%s%s: expected thread or process\n", program, word ? " " : "", word ? word : "");
    exit(2);
}

/* Takes "--isolation WORD" off the front of the arguments. Ends the program if more than `most` others are left, or an
 * option that it does not know. */
static inline ray_isolation take_isolation(const char *program, int *argc, char ***argv, int most)
{
    ray_isolation isolation = RAY_ISOLATION_AUTO;
    if (*argc > 1 && strcmp((*argv)[1], "--isolation") == 0) {
        isolation = isolation_named(program, (*argv)[2]);
        *argc -= 2, *argv += 2;
    }
    for (int i = 1; i < *argc; i++) {
        const char *word = (*argv)[i];
        if (i <= most && word[0] != '-')
            continue;
        fprintf(stderr, "%s: %s: expected %s\n", program, word,
                word[0] == '-' ? "no option but --isolation thread|process, which comes first" : "fewer arguments");
        exit(2);
    }
    return isolation;
}

#endif
