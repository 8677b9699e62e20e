/* Looks at the descriptors of this process. */
#ifndef CHECK_DESCRIPTORS_H
#define CHECK_DESCRIPTORS_H

#include <stddef.h>

size_t check_open_fds(void);
/* Of TCP, open, and shut down or never connected. nng 1.5 is never done with some connections that it closes early, in
 * their handshake or between two reads of a message: these stay so (lib/transport/bus_net.c). */
size_t check_shut_sockets(void);
void check_print_fds(void); /* on stderr */

#endif
