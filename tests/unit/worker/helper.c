#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the process ---- */

static void become_child(const int fds[3], pid_t parent)
{
    char of[32];
    int high[3];

    for (int i = 0; i < 3; i++)
        high[i] = fcntl(fds[i], F_DUPFD, 10);
    for (int i = 0; i < 3; i++)
        dup2(high[i], 3 + i);
    for (int fd = 6; fd < 256; fd++)
        close(fd);
    setpgid(0, 0);
    snprintf(of, sizeof of, "%lld 0", (long long)parent);
    setenv(RAYI_WORKER_ENV, of, 1);
    execl(CHILD, CHILD, (char *)NULL);
    _exit(97);
}

host start_child(void)
{
    host h = {0};
    int sockets[2];

    cr_assert_eq(rayi_channel_new(rayi_heap, &h.channel), 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
    h.socket = sockets[0];
    h.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pid_t parent = getpid();
    h.pid = fork();
    if (h.pid == 0)
        become_child((int[]){sockets[1], rayi_channel_fd(h.channel), h.event}, parent);
    close(sockets[1]);
    return h;
}

bool welcome(host *h)
{
    rayi_writer writer;
    mail ready;

    while (!receive_within(h, &ready, 10)) {
        siginfo_t end = {0};
        if (waitid(P_PID, (id_t)h->pid, &end, WEXITED | WNOHANG | WNOWAIT) == 0 && end.si_pid == h->pid)
            return false;
    }
    cr_assert_eq(ready.type, RAYI_UP_READY);
    cr_assert_eq(rayi_take_u32(&ready.reader), RAYI_WORKER_PROTOCOL);
    cr_assert_eq(rayi_take_i64(&ready.reader), h->pid);
    drop(&ready);
    rayi_writer_init(&writer);
    rayi_put_u32(&writer, RAYI_WORKER_PROTOCOL);
    rayi_put_text(&writer, "22222222222222222222222222222222");
    rayi_put_text(&writer, "11111111111111111111111111111111");
    rayi_put_text(&writer, "space");
    rayi_put_u64(&writer, 0xabcdef);
    rayi_put_u64(&writer, FIRST_NUMBER);
    rayi_put_i64(&writer, 30000);
    rayi_put_u32(&writer, RAY_LOG_INFO);
    rayi_put_u32(&writer, 0);
    rayi_put_text(&writer, NULL);
    send_down(h, RAYI_DOWN_WELCOME, &writer);
    rayi_writer_fini(&writer);
    return true;
}

host start(void)
{
    host h = start_child();

    cr_assert(welcome(&h));
    return h;
}

int end_of(host *h)
{
    int status = -1;

    for (int i = 0; i < PATIENCE_S * 1000; i++) {
        pid_t pid = waitpid(h->pid, &status, WNOHANG);
        if (pid == h->pid || (pid < 0 && errno != EINTR))
            return status;
        usleep(1000);
    }
    kill(-h->pid, SIGKILL);
    waitpid(h->pid, &status, 0);
    cr_assert(false, "the worker process does not end");
    return -1;
}

void close_host(host *h)
{
    rayi_channel_free(h->channel);
    close(h->event);
    close(h->socket);
}

void finish(host *h)
{
    rayi_writer none;
    mail m;

    rayi_writer_init(&none);
    send_down(h, RAYI_DOWN_EXIT, &none);
    int status = end_of(h);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the worker ended with %x", status);
    if (receive_within(h, &m, 0))
        cr_assert(false, "the worker has said %u, which nobody expected", m.type);
    close_host(h);
}

/* ---- messages ---- */

void send_down(host *h, uint32_t type, const rayi_writer *writer)
{
    while (!rayi_channel_send(h->channel, type, writer->data, writer->size, NULL, 0))
        usleep(100);
    rayi_channel_wake_worker(h->channel);
}

void send_number(host *h, uint32_t type, uint64_t number)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, number);
    send_down(h, type, &writer);
}

static void wait_for_event(host *h, int64_t timeout_ms)
{
    struct pollfd one = {.fd = h->event, .events = POLLIN};
    uint64_t count;

    poll(&one, 1, (int)timeout_ms);
    if (read(h->event, &count, sizeof count) < 0)
        return; /* nobody has written */
}

bool receive_within(host *h, mail *out, int64_t timeout_ms)
{
    int64_t end = rayi_now_ms() + timeout_ms;
    rayi_received got;

    for (;;) {
        int r = rayi_channel_receive(h->channel, &got);
        cr_assert_geq(r, 0, "the channel is damaged");
        if (r > 0 && got.type == RAYI_UP_LOG)
            continue;
        if (r > 0)
            break;
        rayi_channel_arm(h->channel);
        if (rayi_channel_has_mail(h->channel))
            continue;
        if (rayi_now_ms() >= end)
            return false;
        wait_for_event(h, end - rayi_now_ms());
    }
    out->type = got.type;
    out->data = malloc(got.size + 1);
    memcpy(out->data, got.data, got.size);
    out->reader = rayi_reader_of(out->data, got.size);
    return true;
}

mail receive(host *h)
{
    mail m;

    if (!receive_within(h, &m, PATIENCE_S * 1000))
        cr_assert(false, "the worker says nothing");
    return m;
}

static bool is_pause(uint32_t type)
{
    return type == RAYI_UP_BLOCKED || type == RAYI_UP_RESUMED;
}

/* Whether an answer was waited for long enough to be told is a matter of time. */
mail expect(host *h, uint32_t type)
{
    mail m;

    for (m = receive(h); is_pause(m.type) && !is_pause(type); m = receive(h))
        drop(&m);
    cr_assert_eq(m.type, type, "got a message of type %u, wanted %u", m.type, type);
    return m;
}

void drop(mail *m)
{
    free(m->data);
    m->data = NULL;
}

void expect_silence(host *h)
{
    mail m;

    if (receive_within(h, &m, 50))
        cr_assert(false, "got a message of type %u, wanted none", m.type);
}

uint32_t tell_function(host *h, const char *name, const char *description)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u32(&writer, h->functions);
    rayi_put_text(&writer, name);
    rayi_put_text(&writer, description);
    send_down(h, RAYI_DOWN_FUNCTION, &writer);
    return h->functions++;
}

/* ---- tasks ---- */

void give_task(host *h, given *g, const char *function, const char *description)
{
    memset(g, 0, sizeof *g);
    g->head.slot = h->slot++;
    g->head.generation = 1000 + g->head.slot;
    g->head.function = tell_function(h, function, description);
    rayi_writer_init(&g->values);
}

void put_int(rayi_writer *writer, unsigned kind, int64_t number)
{
    rayi_put_u8(writer, RAYI_FORM_NUMBER);
    rayi_put_u8(writer, (uint8_t)kind);
    rayi_put_i64(writer, number);
}

void put_bytes_value(rayi_writer *writer, unsigned kind, const void *bytes, size_t size)
{
    rayi_put_u8(writer, RAYI_FORM_BYTES);
    rayi_put_u8(writer, (uint8_t)kind);
    rayi_put_u32(writer, 0);
    rayi_put_u32(writer, (uint32_t)size);
    rayi_put_bytes(writer, bytes, size);
    rayi_put_u8(writer, 0);
}

void put_ref(rayi_writer *writer, unsigned form, uint64_t number)
{
    rayi_put_u8(writer, (uint8_t)form);
    rayi_put_u64(writer, number);
}

void offer(host *h, given *g)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_bytes(&writer, &g->head, sizeof g->head);
    if (g->head.flags & RAYI_WORK_CONTEXT) {
        rayi_put_text(&writer, g->resources);
        rayi_put_text(&writer, g->gpus);
        rayi_put_text(&writer, g->group_id);
    }
    rayi_put_bytes(&writer, g->values.data, g->values.size);
    rayi_offer_make(h->channel, g->head.slot, g->head.generation);
    send_down(h, RAYI_DOWN_TASK, &writer);
    rayi_writer_fini(&writer);
    rayi_writer_fini(&g->values);
}

static char *copy_of(const void *bytes, size_t size)
{
    char *copy = malloc(size + 1);

    memcpy(copy, bytes, size);
    copy[size] = 0;
    return copy;
}

answer read_answer(rayi_reader *reader)
{
    answer a = {.form = rayi_take_u8(reader)};

    switch (a.form) {
    case RAYI_FORM_NUMBER:
        a.kind = rayi_take_u8(reader);
        a.number = rayi_take_i64(reader);
        break;
    case RAYI_FORM_BYTES:
        a.kind = rayi_take_u8(reader);
        for (uint32_t holds = rayi_take_u32(reader); holds > 0; holds--)
            a.number = rayi_take_i64(reader);
        a.size = rayi_take_u32(reader);
        a.bytes = copy_of(rayi_take_bytes(reader, a.size), a.size);
        cr_assert_eq(rayi_take_u8(reader), 0);
        break;
    case RAYI_FORM_BLOCK:
        a.kind = rayi_take_u8(reader);
        a.number = rayi_take_i64(reader);
        a.size = rayi_take_u64(reader);
        cr_assert_eq(rayi_take_u32(reader), 0);
        cr_assert_eq(rayi_take_u8(reader), 0, "a worker opens nothing for its node");
        break;
    case RAYI_FORM_REF:
    case RAYI_FORM_AWAITED:
        a.number = rayi_take_i64(reader);
        break;
    case RAYI_FORM_ACTOR:
        a.number = rayi_take_i64(reader);
        (void)rayi_take_text(reader);
        (void)rayi_take_text(reader);
        break;
    case RAYI_FORM_ERROR:
        a.code = (int)rayi_take_i64(reader);
        a.user_code = (int)rayi_take_i64(reader);
        const char *message = rayi_take_text(reader);
        a.bytes = copy_of(message, strlen(message));
        break;
    default:
        cr_assert_eq(a.form, RAYI_FORM_NONE);
    }
    cr_assert(!reader->failed, "a value that does not parse");
    return a;
}

void drop_answer(answer *a)
{
    free(a->bytes);
    a->bytes = NULL;
}

answer expect_any_result(host *h, rayi_wire_result *head)
{
    mail m = expect(h, RAYI_UP_RESULT);

    memcpy(head, rayi_take_bytes(&m.reader, sizeof *head), sizeof *head);
    cr_assert_eq(rayi_offer_look(h->channel, head->slot) & RAYI_OFFER_STATE, RAYI_OFFER_TAKEN);
    answer a = read_answer(&m.reader);
    a.exits = head->exits;
    drop(&m);
    return a;
}

answer expect_result(host *h, const given *g)
{
    rayi_wire_result head;
    answer a = expect_any_result(h, &head);

    cr_assert_eq(head.slot, g->head.slot);
    cr_assert_eq(head.generation, g->head.generation);
    return a;
}

void expect_int(host *h, const given *g, int64_t number)
{
    answer a = expect_result(h, g);

    cr_assert_eq(a.form, RAYI_FORM_NUMBER, "form %u, %s", a.form, a.bytes ? a.bytes : "");
    cr_assert_eq(a.number, number, "got %lld, wanted %lld", (long long)a.number, (long long)number);
    drop_answer(&a);
}

bool expect_cancelled(host *h, const given *g)
{
    answer a = expect_result(h, g);
    bool ran = a.form == RAYI_FORM_NUMBER;

    if (ran)
        cr_assert_eq(a.number, 1);
    else
        cr_assert_eq(a.code, RAY_ERR_CANCELLED, "form %u, %s", a.form, a.bytes ? a.bytes : "");
    drop_answer(&a);
    return ran;
}

void complete_int(host *h, uint64_t record, int64_t number)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, record);
    put_int(&writer, RAY_KIND_I64, number);
    send_down(h, RAYI_DOWN_COMPLETE, &writer);
}

static void put_error(rayi_writer *writer, int code, const char *message)
{
    rayi_put_u8(writer, RAYI_FORM_ERROR);
    rayi_put_i64(writer, code);
    rayi_put_i64(writer, 0);
    rayi_put_text(writer, message);
    rayi_put_text(writer, NULL);
    rayi_put_text(writer, NULL);
    rayi_put_i64(writer, 0);
    rayi_put_i64(writer, 0);
    rayi_put_text(writer, NULL);
    rayi_put_u32(writer, 0);
}

void complete_error(host *h, uint64_t record, int code, const char *message)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, record);
    put_error(&writer, code, message);
    send_down(h, RAYI_DOWN_COMPLETE, &writer);
}

/* ---- what the worker asks for ---- */

rayi_wire_submit read_submit(mail *m)
{
    rayi_wire_submit head;

    memcpy(&head, rayi_take_bytes(&m->reader, sizeof head), sizeof head);
    return head;
}

void skip_task_options(mail *m)
{
    cr_assert_eq(rayi_take_u8(&m->reader), 0, "there are options");
}

request expect_ask(host *h, uint32_t what)
{
    request r = {.m = expect(h, RAYI_UP_ASK)};

    r.request = rayi_take_u64(&r.m.reader);
    r.what = rayi_take_u32(&r.m.reader);
    cr_assert_eq(r.what, what, "asked for %u, wanted %u", r.what, what);
    return r;
}

void reply(host *h, request *r, int64_t code, const rayi_writer *value)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, r->request);
    rayi_put_i64(&writer, code);
    if (code < 0)
        put_error(&writer, (int)code, "no");
    else if (value)
        rayi_put_bytes(&writer, value->data, value->size);
    send_down(h, RAYI_DOWN_REPLY, &writer);
    rayi_writer_fini(&writer);
    drop(&r->m);
}

void expect_release(host *h, uint64_t number, uint64_t holds)
{
    mail m = expect(h, RAYI_UP_RELEASE);

    cr_assert_eq(rayi_take_u64(&m.reader), number);
    cr_assert_eq(rayi_take_u64(&m.reader), holds);
    drop(&m);
}

int share_segment(host *h, uint64_t number, size_t size, bool writable)
{
    rayi_wire_segment what = {.segment = number, .size_bytes = size, .writable = writable};
    struct iovec part = {.iov_base = &what, .iov_len = sizeof what};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int fd = memfd_create("segment", MFD_CLOEXEC);

    cr_assert_eq(ftruncate(fd, (off_t)size), 0);
    memset(&control, 0, sizeof control);
    control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    if (sendmsg(h->socket, &message, MSG_NOSIGNAL) < 0) /* it may be gone */
        cr_assert(errno == EPIPE || errno == ECONNRESET, "error %d", errno);
    return fd;
}
