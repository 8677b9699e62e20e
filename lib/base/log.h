/* The one log callback. Silent by default. */
#ifndef RAYI_LOG_H
#define RAYI_LOG_H

#include <ray/config.h>

void rayi_log_install(ray_log_fn fn, void *arg, ray_log_level most);
bool rayi_log_wants(ray_log_level level);

/* Tells the host. event is a stable name ("task.unplaceable"); node_id may be NULL. Cheap when nobody listens. */
void rayi_log(ray_log_level level, const char *event, const char *node_id, const char *format, ...) RAY_PRINTF(4, 5);
/* The same with a message that is ready, of any length. */
void rayi_log_text(ray_log_level level, const char *event, const char *node_id, const char *message);

#endif
