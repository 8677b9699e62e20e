/* Each allocation of the worker process fails once: it answers all the same, or does not start. */
#include "helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEGMENT_BYTES ((size_t)4 << 20)
enum { EXIT_BY_ITSELF = 71, NEVER_FAILED = 55 };

typedef struct play {
    host h;
    uint64_t rooms; /* buffers that were given room */
    uint32_t offered, answered;
} play;

static void offer_all(play *p)
{
    given g;

    give_task(&p->h, &g, "greet", NULL);
    g.head.num_args = 2;
    put_bytes_value(&g.values, RAY_KIND_STRING, "hello", 5);
    put_int(&g.values, RAY_KIND_I32, 2000);
    offer(&p->h, &g);
    give_task(&p->h, &g, "ask_twice", NULL);
    g.head.num_args = 1;
    put_int(&g.values, RAY_KIND_I64, 4);
    offer(&p->h, &g);
    give_task(&p->h, &g, "hold_all", NULL);
    g.head.num_args = 1;
    put_int(&g.values, RAY_KIND_I64, 200000);
    offer(&p->h, &g);
    give_task(&p->h, &g, "get_ref", NULL);
    g.head.num_args = 1;
    put_ref(&g.values, RAYI_FORM_REF, 50);
    offer(&p->h, &g);
    complete_int(&p->h, 50, 1);
    give_task(&p->h, &g, "read_stream", NULL);
    g.head.num_args = 1;
    put_int(&g.values, RAY_KIND_I64, 2);
    offer(&p->h, &g);
    give_task(&p->h, &g, "many_strings", NULL);
    offer(&p->h, &g);
    give_task(&p->h, &g, "use_actor", NULL);
    g.head.num_args = 1;
    put_int(&g.values, RAY_KIND_I64, 2);
    offer(&p->h, &g);
    give_task(&p->h, &g, "kv", NULL);
    offer(&p->h, &g);
    p->offered = p->h.slot;
}

static void answer_ask(play *p, mail *m)
{
    request r = {.m = *m};
    rayi_writer value;

    r.request = rayi_take_u64(&r.m.reader);
    r.what = rayi_take_u32(&r.m.reader);
    rayi_writer_init(&value);
    if (r.what == RAYI_ASK_CREATE) {
        rayi_put_u64(&value, 9);
        rayi_put_u64(&value, SEGMENT_BYTES);
        rayi_put_u64(&value, p->rooms++ * 262144);
    } else if (r.what == RAYI_ASK_KV_GET) {
        put_ref(&value, RAYI_FORM_REF, 60);
    }
    reply(&p->h, &r, r.what == RAYI_ASK_KV_DEL ? RAY_ERR_NOT_FOUND : 0, &value);
    if (r.what == RAYI_ASK_KV_GET)
        complete_error(&p->h, 60, RAY_ERR_OBJECT_LOST, "lost");
}

/* What a node would do. */
static void respond(play *p, mail *m)
{
    uint64_t number;

    switch (m->type) {
    case RAYI_UP_RESULT:
        p->answered++;
        break;
    case RAYI_UP_SUBMIT:
        complete_int(&p->h, read_submit(m).number, 1);
        break;
    case RAYI_UP_NEXT:
        (void)rayi_take_u64(&m->reader);
        number = rayi_take_u64(&m->reader);
        complete_error(&p->h, number, RAY_ERR_STREAM_END, "over");
        break;
    case RAYI_UP_ASK:
        answer_ask(p, m); /* and drops it */
        return;
    default:
        break;
    }
    drop(m);
}

static bool has_ended(const host *h)
{
    siginfo_t end = {0};

    return waitid(P_PID, (id_t)h->pid, &end, WEXITED | WNOHANG | WNOWAIT) == 0 && end.si_pid == h->pid;
}

/* The exit code. */
static int play_with_failure(int at)
{
    play p = {0};
    char text[16];
    rayi_writer none;
    mail m;
    int fd = -1;

    snprintf(text, sizeof text, "%d", at);
    setenv("CHILD_FAILS_AT", text, 1);
    p.h = start_child();
    if (welcome(&p.h)) {
        fd = share_segment(&p.h, 9, SEGMENT_BYTES, true);
        offer_all(&p);
        int64_t end = rayi_now_ms() + PATIENCE_S * 1000;
        while (p.answered < p.offered && !has_ended(&p.h)) {
            if (receive_within(&p.h, &m, 20))
                respond(&p, &m);
            cr_assert_lt(rayi_now_ms(), end, "allocation %d: %u of %u tasks were answered", at, p.answered, p.offered);
        }
        rayi_writer_init(&none);
        send_down(&p.h, RAYI_DOWN_EXIT, &none);
        close(fd);
    }
    int status = end_of(&p.h);
    close_host(&p.h);
    cr_assert(WIFEXITED(status), "allocation %d: ended by signal %d", at, WTERMSIG(status));
    return WEXITSTATUS(status);
}

Test(worker_faults, survives_a_lack_of_memory, .timeout = 300)
{
    int code = 0, at = 1, failed_to_start = 0;

    for (; code != NEVER_FAILED; at++) {
        code = play_with_failure(at);
        cr_assert(code == 0 || code == EXIT_BY_ITSELF || code == NEVER_FAILED, "allocation %d: exit code %d", at, code);
        failed_to_start += code == EXIT_BY_ITSELF;
    }
    cr_assert_gt(at, 30);
    cr_assert_lt(failed_to_start, at - 20);
    unsetenv("CHILD_FAILS_AT");
}
