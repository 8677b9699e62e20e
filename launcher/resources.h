/* What people write after --resources and --labels, turned into what ray_config takes. */
#ifndef RESOURCES_H
#define RESOURCES_H

#include <stdbool.h>
#include <stddef.h>

/* "disk=2, ssd=1", with units as in memory ("scratch=2GiB"), or JSON as Ray writes it, {"disk": 2}: as the former, to
 * free. The names that have options of their own (CPU, GPU, memory, object_store_memory) are refused. NULL: why tells
 * what was expected, what came, and where. */
char *read_resources(const char *text, char *why, size_t why_size);
/* "zone=eu, disk=ssd": is it that? */
bool check_labels(const char *text, char *why, size_t why_size);

#endif
