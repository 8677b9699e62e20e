/* The sockets of a bus: what of it is nng's. Messages go to nng's threads, and come from them to the loop's. */
#ifndef RAYI_BUS_NET_H
#define RAYI_BUS_NET_H

#include "transport/bus.h"

typedef struct rayi_bus_net rayi_bus_net;
typedef struct nng_msg rayi_bus_message;

/* The two patterns. The head has PUB0 and SURVEYOR0, and listens; a node has SUB0 and RESPONDENT0, and dials. */
typedef enum rayi_bus_line { RAYI_BUS_NEWS, RAYI_BUS_POLL, RAYI_BUS_LINES } rayi_bus_line;

typedef struct rayi_bus_net_options {
    bool head;
    const char *addresses[RAYI_BUS_LINES]; /* "HOST:PORT" to dial; of the head to listen at, by number, port 0 */
    uint32_t max_peers;                    /* of a line */
    /* What came on a line. The message is lent; its bytes may be written to. */
    void (*on_message)(void *arg, rayi_bus_line line, rayi_bus_message *message);
    void *arg;
} rayi_bus_net_options;

/* SYSTEM NO_MEMORY */
int rayi_bus_net_open(uv_loop_t *loop, const rayi_bus_net_options *options, rayi_bus_net **out);
/* No on_message any more; closed(arg) from the loop, when it is gone. */
void rayi_bus_net_close(rayi_bus_net *net, void (*closed)(void *arg), void *arg);
int rayi_bus_net_port(const rayi_bus_net *net, rayi_bus_line line); /* that the head listens at */
uint32_t rayi_bus_net_peers(const rayi_bus_net *net, rayi_bus_line line);
uint64_t rayi_bus_net_dropped(const rayi_bus_net *net, rayi_bus_reason reason); /* OVERRUN, UNSENT, REFUSED */

rayi_bus_message *rayi_bus_message_new(size_t size_bytes); /* NULL: out of memory */
uint8_t *rayi_bus_message_bytes(rayi_bus_message *message);
size_t rayi_bus_message_size(const rayi_bus_message *message);
/* What the head says, to all. The message is taken over. */
void rayi_bus_net_send(rayi_bus_net *net, rayi_bus_line line, rayi_bus_message *message);
/* A peer is going: what is said waits for 100 ms, in which nng is done with its connection. */
void rayi_bus_net_hush(rayi_bus_net *net);
bool rayi_bus_net_is_hushed(const rayi_bus_net *net);
/* What a node answers to a survey that it has in on_message. The answer is taken over. */
void rayi_bus_net_answer(rayi_bus_net *net, rayi_bus_message *survey, rayi_bus_message *answer);

#endif
