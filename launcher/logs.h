/* Logs that are printed as they grow: several files, each known by its inode, since one that has grown large is
 * renamed and another one takes its name. */
#ifndef LOGS_H
#define LOGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOGS_MAX = 4096 };

typedef struct log_file {
    uint64_t inode, size; /* size: of it that was printed */
} log_file;

typedef struct log_printer {
    log_file files[LOGS_MAX];
    size_t num_files;
    uint64_t last; /* the inode of that whose name stands above what was printed last */
} log_printer;

/* What of that file was printed; it has so many bytes now. NULL: there are too many files. */
log_file *logs_find(log_printer *printer, uint64_t inode, uint64_t size);
/* The next bytes of it, under its name. False: standard output takes no more. */
bool logs_print(log_printer *printer, log_file *file, const char *name, const char *bytes, size_t size);
/* Between two looks at what follows. */
void logs_wait(void);

/* far_logs.c: of a node of the cluster, which is asked for them. name: its id, the beginning of that, or its HOST:PORT;
 * NULL, "head": the head. The library has been started. Returns the exit status. */
int logs_print_far(const char *name, bool follow);

#endif
