/* A node that is played by hand: it has a channel, a socket, and a process at the other end. */
#ifndef TESTS_WORKER_HELPER_H
#define TESTS_WORKER_HELPER_H

#include "ring/ring.h"
#include "wire/wire.h"

#include <criterion/criterion.h>
#include <ray/ray.h>
#include <sys/types.h>

enum { PATIENCE_S = 30, FIRST_NUMBER_BIT = 48 };
#define FIRST_NUMBER ((uint64_t)256 << 40)

typedef struct host {
    rayi_channel *channel;
    int socket, event;
    pid_t pid;
    uint32_t functions; /* told so far */
    uint32_t slot;      /* the next one */
} host;

/* A message of the worker. */
typedef struct mail {
    uint32_t type;
    rayi_reader reader;
    char *data;
} mail;

host start_child(void);   /* before READY */
host start(void);         /* after WELCOME */
bool welcome(host *h);    /* false: it does not come that far */
void finish(host *h);     /* EXIT, and it must end with 0 and leave nothing unsaid */
int end_of(host *h);      /* waits for the process; as waitpid says */
void close_host(host *h); /* after its end */

void send_down(host *h, uint32_t type, const rayi_writer *writer);
void send_number(host *h, uint32_t type, uint64_t number);
mail receive(host *h); /* the next one, logs aside; fails when none comes */
bool receive_within(host *h, mail *out, int64_t timeout_ms);
mail expect(host *h, uint32_t type);
void drop(mail *m);
void expect_silence(host *h); /* nothing comes for some milliseconds */

uint32_t tell_function(host *h, const char *name, const char *description);

/* ---- tasks ---- */

typedef struct given {
    rayi_wire_task head;
    rayi_writer values;
    const char *resources, *gpus, *group_id;
} given;

void give_task(host *h, given *g, const char *function, const char *description); /* one to be filled in */
void put_int(rayi_writer *writer, unsigned kind, int64_t number);
void put_bytes_value(rayi_writer *writer, unsigned kind, const void *bytes, size_t size);
void put_ref(rayi_writer *writer, unsigned form, uint64_t number);
void offer(host *h, given *g); /* makes the offer and sends it */

typedef struct answer {
    unsigned form, kind;
    int64_t number; /* of NUMBER; of REF, BLOCK, ACTOR */
    char *bytes;    /* of BYTES, or an error's message */
    size_t size;
    int code, user_code;
    bool exits;
} answer;
answer expect_result(host *h, const given *g);
answer expect_any_result(host *h, rayi_wire_result *head); /* the next one, whosever it is */
answer read_answer(rayi_reader *reader);
void drop_answer(answer *a);
/* Of a value that is an integer. */
void expect_int(host *h, const given *g, int64_t number);
/* Of until_cancelled, which has returned 1; false: its cancel came before it had begun, and it never did. */
bool expect_cancelled(host *h, const given *g);
void complete_int(host *h, uint64_t record, int64_t number);
void complete_error(host *h, uint64_t record, int code, const char *message);

/* The head of a SUBMIT or ACTOR; the reader stands before the options. */
rayi_wire_submit read_submit(mail *m);
void skip_task_options(mail *m);

typedef struct request {
    uint64_t request;
    uint32_t what;
    mail m;
} request;
request expect_ask(host *h, uint32_t what);
void reply(host *h, request *r, int64_t code, const rayi_writer *value); /* value NULL: none; drops the request */
void expect_release(host *h, uint64_t number, uint64_t holds);
int share_segment(host *h, uint64_t number, size_t size, bool writable); /* its descriptor */

#endif
