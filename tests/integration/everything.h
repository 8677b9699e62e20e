/* Every call of the API, for the places where all of them must fail in the same way. */
#ifndef EVERYTHING_H
#define EVERYTHING_H

#include "check.h"

/* One handle of each kind, of a running runtime. */
typedef struct handles {
    ray_ref *ref;
    ray_ref *stream;
    ray_actor *actor;
    ray_waitset *set;
    ray_placement_group *group;
    ray_buffer *buffer;
    ray_view view;
} handles;

void handles_open(handles *h);
void handles_close(handles *h);

/* Calls whatever needs a runtime and expects this code of each. Handles that are NULL are left out. */
void everything_fails(const handles *h, int code);
/* Calls everything on a running runtime and expects it to work. */
void everything_works(void);

#endif
