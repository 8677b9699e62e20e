/* Errors: a counted story that travels with failed objects, and the last one of each thread. */
#ifndef RAYI_ERROR_H
#define RAYI_ERROR_H

#include <ray/error.h>

#define RAYI_MESSAGE_MAX 1023 /* bytes of a message, without its NUL */

typedef struct rayi_error rayi_error; /* immutable once made, counted */

/* Never NULL: without memory it is a shared one that says so. function and node_id are copied and may be NULL. */
rayi_error *rayi_error_new(int code, const char *function, const char *node_id, const char *format, ...)
    RAY_PRINTF(4, 5);
rayi_error *rayi_error_copy(const ray_error *about); /* the same of all fields; message is not NULL */
rayi_error *rayi_error_plain(int code);              /* the table's words only; needs no memory */
rayi_error *rayi_error_ref(rayi_error *error);
void rayi_error_unref(rayi_error *error); /* takes NULL */
const ray_error *rayi_error_public(const rayi_error *error);
int rayi_error_code(const rayi_error *error);

/* Makes it this thread's last error (one count is taken over); returns its code. */
int rayi_error_set_last(rayi_error *error);
/* A new error as this thread's last, which needs no memory; returns code. */
int rayi_fail(int code, const char *format, ...) RAY_PRINTF(2, 3);
/* This thread's last error, with a count for the caller; NULL if there is none. */
rayi_error *rayi_error_last(void);
const ray_error *rayi_error_last_public(void); /* never NULL */
/* Keeps the words of this thread's last error but none of the heap. */
void rayi_error_settle_last(void);

const char *rayi_error_text(int code);  /* of the table; never NULL */
const char *rayi_error_label(int code); /* "RAY_ERR_TIMEOUT"; never NULL */

#endif
