/* An error of this thread's own making is written into thread-local room, so that telling of a failure needs no memory;
 * one that came with a failed object is shared with it by count. A key's destructor drops the count when the thread
 * ends, rayi_error_settle_last when the runtime does. */
#include "base/error.h"

#include "base/assert.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct rayi_error {
    atomic_uint refs; /* 0: shared by all, never freed */
    ray_error about;  /* its texts stand behind the struct */
};

#define PLAIN(name, number, text) {.about = {.size = sizeof(ray_error), .code = number, .message = text}},
static rayi_error plain[] = {RAY_ERROR_TABLE(PLAIN)};
#undef PLAIN

static _Thread_local struct {
    rayi_error *shared; /* the last error, or NULL: it is `own` */
    ray_error own;
    char message[RAYI_MESSAGE_MAX + 1];
} last;

static pthread_key_t last_key;
static pthread_once_t last_key_once = PTHREAD_ONCE_INIT;
static bool have_last_key;

/* Texts are cut at a limit; the cut must not fall into a character of several bytes. */
static size_t utf8_cut(const char *text, size_t size)
{
    while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
        size--;
    return size;
}

/* vsnprintf that does not end inside a character. */
static void print_message(char message[RAYI_MESSAGE_MAX + 1], const char *format, va_list args)
{
    int size = vsnprintf(message, RAYI_MESSAGE_MAX + 1, format, args);
    size_t cut = RAYI_MESSAGE_MAX;

    if (size <= RAYI_MESSAGE_MAX)
        return;
    while (cut > 0 && ((unsigned char)message[cut - 1] & 0xc0) == 0x80)
        cut--;
    if (cut > 0 && ((unsigned char)message[cut - 1] & 0xc0) == 0xc0)
        cut--; /* the first byte of the character: it may lack its last ones */
    message[cut] = 0;
}

static char *place(char **at, const char *text, size_t size)
{
    char *start = *at;

    memcpy(start, text, size);
    start[size] = 0;
    *at += size + 1;
    return start;
}

rayi_error *rayi_error_plain(int code)
{
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (plain[i].about.code == code)
            return &plain[i];
    return rayi_error_plain(RAY_ERR_INTERNAL);
}

static rayi_error *make(const ray_error *about)
{
    size_t message = strlen(about->message), function = about->function ? strlen(about->function) : 0;
    size_t node = about->node_id ? strlen(about->node_id) : 0, output = about->output ? strlen(about->output) : 0;
    rayi_error *error;
    char *at;

    if (message > RAYI_MESSAGE_MAX)
        message = utf8_cut(about->message, RAYI_MESSAGE_MAX);
    error = rayi_alloc(sizeof *error + about->payload_size + message + function + node + output + 4);
    if (!error)
        return rayi_error_plain(RAY_ERR_NO_MEMORY);
    atomic_init(&error->refs, 1);
    error->about = *about;
    error->about.size = sizeof error->about;
    at = (char *)(error + 1);
    if (about->payload_size > 0) {
        error->about.payload = memcpy(at, about->payload, about->payload_size);
        at += about->payload_size;
    }
    error->about.message = place(&at, about->message, message);
    if (about->function)
        error->about.function = place(&at, about->function, function);
    if (about->node_id)
        error->about.node_id = place(&at, about->node_id, node);
    if (about->output)
        error->about.output = place(&at, about->output, output);
    return error;
}

rayi_error *rayi_error_new(int code, const char *function, const char *node_id, const char *format, ...)
{
    char message[RAYI_MESSAGE_MAX + 1];
    va_list args;

    va_start(args, format);
    print_message(message, format, args);
    va_end(args);
    return make(&(ray_error){.code = code, .message = message, .function = function, .node_id = node_id});
}

rayi_error *rayi_error_copy(const ray_error *about)
{
    return make(about);
}

rayi_error *rayi_error_ref(rayi_error *error)
{
    if (atomic_load_explicit(&error->refs, memory_order_relaxed) != 0)
        atomic_fetch_add_explicit(&error->refs, 1, memory_order_relaxed);
    return error;
}

void rayi_error_unref(rayi_error *error)
{
    if (!error || atomic_load_explicit(&error->refs, memory_order_relaxed) == 0)
        return;
    if (atomic_fetch_sub_explicit(&error->refs, 1, memory_order_acq_rel) == 1)
        rayi_free(error);
}

const ray_error *rayi_error_public(const rayi_error *error)
{
    return &error->about;
}

int rayi_error_code(const rayi_error *error)
{
    return error->about.code;
}

static void drop_last(void *unused)
{
    (void)unused;
    rayi_error_unref(last.shared);
    last.shared = NULL;
}

static void make_last_key(void)
{
    have_last_key = pthread_key_create(&last_key, drop_last) == 0;
}

int rayi_error_set_last(rayi_error *error)
{
    if (last.shared == error) {
        rayi_error_unref(error); /* the thread has a count already */
        return error->about.code;
    }
    drop_last(NULL);
    pthread_once(&last_key_once, make_last_key);
    if (have_last_key && pthread_setspecific(last_key, &last) == 0) {
        last.shared = error;
        return error->about.code;
    }
    /* Nobody would drop the count at the thread's end: keep the words only. */
    (void)rayi_fail(error->about.code, "%s", error->about.message);
    rayi_error_unref(error);
    return last.own.code;
}

int rayi_fail(int code, const char *format, ...)
{
    char message[RAYI_MESSAGE_MAX + 1]; /* the arguments may point into the old message */
    va_list args;

    va_start(args, format);
    print_message(message, format, args);
    va_end(args);
    drop_last(NULL);
    memcpy(last.message, message, sizeof message);
    last.own = (ray_error){.size = sizeof last.own, .code = code, .message = last.message};
    return code;
}

rayi_error *rayi_error_last(void)
{
    if (last.shared)
        return rayi_error_ref(last.shared);
    return last.own.code ? make(&last.own) : NULL;
}

void rayi_error_settle_last(void)
{
    rayi_error *error = last.shared;

    if (error) {
        last.shared = NULL;
        (void)rayi_fail(error->about.code, "%s", error->about.message);
        rayi_error_unref(error);
    }
}

const ray_error *rayi_error_last_public(void)
{
    if (last.shared)
        return &last.shared->about;
    if (!last.own.message)
        last.own = (ray_error){.size = sizeof last.own, .message = ""};
    return &last.own;
}

const char *rayi_error_text(int code)
{
    switch (code) {
    case RAY_OK:
        return "no error";
#define TEXT(name, number, text)                                                                                       \
    case number:                                                                                                       \
        return text;
        RAY_ERROR_TABLE(TEXT)
#undef TEXT
    }
    return "unknown error code";
}

const char *rayi_error_label(int code)
{
    switch (code) {
    case RAY_OK:
        return "RAY_OK";
#define LABEL(name, number, text)                                                                                      \
    case number:                                                                                                       \
        return "RAY_ERR_" #name;
        RAY_ERROR_TABLE(LABEL)
#undef LABEL
    }
    return "RAY_ERR_?";
}
