/* The callback is installed before ray_init and only read afterwards, by any thread. */
#include "base/log.h"

#include "base/assert.h"
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static ray_log_fn log_fn;
static void *log_arg;
static ray_log_level log_most;

void rayi_log_install(ray_log_fn fn, void *arg, ray_log_level most)
{
    log_fn = fn;
    log_arg = arg;
    log_most = most;
}

bool rayi_log_wants(ray_log_level level)
{
    return log_fn && level <= log_most;
}

void rayi_log(ray_log_level level, const char *event, const char *node_id, const char *format, ...)
{
    char message[RAYI_MESSAGE_MAX + 1];
    va_list args;

    if (!rayi_log_wants(level))
        return;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    rayi_log_text(level, event, node_id, message);
}

void rayi_log_text(ray_log_level level, const char *event, const char *node_id, const char *message)
{
    if (!rayi_log_wants(level))
        return;
    log_fn(log_arg,
           &(ray_log_event){
               .size = sizeof(ray_log_event), .level = level, .event = event, .message = message, .node_id = node_id});
}

void rayi_assert_failed(const char *rule, const char *file, int line)
{
    rayi_log(RAY_LOG_ERROR, "internal.assert", NULL, "libray is broken: %s:%d: %s does not hold", file, line, rule);
    abort();
}
