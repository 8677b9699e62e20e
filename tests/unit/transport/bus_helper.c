#include "bus_helper.h"

#include <dlfcn.h>
#include <nng/nng.h>
#include <sys/stat.h>

head_end head;
member members[MOST];
rayi_bus_secret secret;
size_t left_behind;

void on_closed(void *arg)
{
    *(bool *)arg = true;
}

void close_head(void)
{
    rayi_bus_close(head.bus, on_closed, &head.closed);
    head.bus = NULL;
}

void close_member(member *m)
{
    rayi_bus_close(m->bus, on_closed, &m->closed);
    m->bus = NULL;
}

static void on_publish(void *arg, const void *bytes, size_t size)
{
    member *m = arg;
    cr_assert_not_null(m->bus, "a callback after a close");
    m->heard++;
    m->last_size = size;
    memset(m->last, 0, sizeof m->last);
    memcpy(m->last, bytes, RAYI_MIN(size, sizeof m->last - 1));
    if (m->closes)
        close_member(m);
}

static void on_survey(void *arg, const void *bytes, size_t size, rayi_writer *answer)
{
    member *m = arg;
    cr_assert_not_null(m->bus, "a callback after a close");
    m->asked++;
    rayi_put_u32(answer, m->number);
    rayi_put_bytes(answer, bytes, size);
    while (answer->size < m->answer_bytes)
        rayi_put_u8(answer, 'a');
    if (m->closes)
        close_member(m);
}

static void on_answer(void *arg, uint32_t node, const void *bytes, size_t size)
{
    rayi_reader reader = rayi_reader_of(bytes, size);
    cr_assert_eq(arg, &head);
    cr_assert_not_null(head.bus, "a callback after a close");
    cr_assert_eq(rayi_take_u32(&reader), node);
    head.answers[node]++;
    if (head.closes)
        close_head();
}

static void on_surveyed(void *arg, uint32_t answers)
{
    cr_assert_eq(arg, &head);
    head.surveyed++;
    head.last_answers = answers;
}

const rayi_bus_events node_events = {.on_publish = on_publish, .on_survey = on_survey};
static const rayi_bus_events head_events = {.on_answer = on_answer, .on_surveyed = on_surveyed};

rayi_bus_head_options head_options(void)
{
    rayi_bus_head_options options = {.host = "127.0.0.1",
                                     .generation = 3,
                                     .secret = &secret,
                                     .span_ms = SANITIZED ? 300 : 100,
                                     .events = &head_events,
                                     .arg = &head};
    return options;
}

/* nng closes some descriptors a moment after it said so. */
static void settle_descriptors(void)
{
    size_t before, now = check_open_fds();
    do {
        before = now;
        rayi_nap_ms(50);
        now = check_open_fds();
    } while (now != before);
}

static size_t count_sockets(void)
{
    size_t count = 0;
    struct stat what;
    for (int fd = 0; fd < 1024; fd++)
        count += fstat(fd, &what) == 0 && S_ISSOCK(what.st_mode);
    return count;
}

/* nng's own threads and descriptors come with the first socket, and stay. None of these is a socket, so all sockets
 * that came with it are closed before anything is counted, however late nng does that: they would be missed later. */
static void warm_up(void)
{
    size_t sockets = count_sockets();
    uv_loop_t first;
    rayi_bus *bus;
    rayi_bus_head_options options = {.host = "127.0.0.1", .events = &head_events};
    bool closed = false;
    uv_loop_init(&first);
    CHECK_OK(rayi_bus_open_head(&first, &options, &bus));
    rayi_bus_close(bus, on_closed, &closed);
    uv_run(&first, UV_RUN_DEFAULT);
    cr_assert(closed);
    cr_assert_eq(uv_loop_close(&first), 0);
    rayi_error_settle_last();
    for (int64_t until = rayi_now_ms() + 20000;
         (count_sockets() > sockets || heap_blocks > 0) && rayi_now_ms() < until;)
        rayi_nap_ms(5);
    cr_assert_eq(count_sockets(), sockets);
    cr_assert_eq(heap_blocks, 0);
    settle_descriptors();
}

/* ---- nng_close, which waits for ever if a test wants it ---- */

atomic_bool close_hangs;

int nng_close(nng_socket socket)
{
    int (*real)(nng_socket);
    *(void **)&real = dlsym(RTLD_NEXT, "nng_close");
    while (close_hangs)
        rayi_nap_ms(5);
    return real(socket);
}

/* Beside busy programs nng may not close in time. The bus warns then, and what it left is waited for at the end. */
static void on_log(void *arg, const ray_log_event *event)
{
    (void)arg;
    cr_assert_eq(strcmp(event->event, "bus.left"), 0, "%s: %s", event->event, event->message);
    left_behind++;
}

void open_bus_loop(void)
{
    rayi_log_install(on_log, NULL, RAY_LOG_WARNING);
    count_heap();
    warm_up();
    open_loop();
    left_behind = 0;
    CHECK_OK(rayi_bus_secret_make(1, &secret));
}

static bool all_closed(void)
{
    for (size_t i = 0; i < MOST; i++)
        if (members[i].bus)
            return false;
    return !head.bus;
}

void close_bus_loop(void)
{
    bool any = head.bus != NULL;
    for (size_t i = 0; i < MOST; i++) {
        bool is_open = members[i].bus != NULL;
        if (is_open)
            close_member(&members[i]);
        if (is_open)
            RUN_UNTIL(members[i].closed);
    }
    if (any) {
        close_head();
        RUN_UNTIL(head.closed);
    }
    cr_assert(all_closed());
    rayi_error_settle_last();
    RUN_UNTIL(left_behind == 0 || heap_blocks == 0);
    RUN_UNTIL(check_open_fds() == descriptors);
    settle_descriptors();
    close_loop();
}

void open_head(const rayi_bus_head_options *options)
{
    rayi_bus_head_options all = head_options();
    CHECK_OK(rayi_bus_open_head(&loop, options ? options : &all, &head.bus));
}

rayi_bus_ticket ticket_now(void)
{
    rayi_bus_ticket ticket, taken;
    rayi_writer writer;
    rayi_bus_ticket_get(head.bus, &ticket);
    rayi_writer_init(&writer);
    rayi_bus_ticket_put(&writer, &ticket);
    rayi_reader reader = rayi_reader_of(writer.data, writer.size);
    CHECK_OK(rayi_bus_ticket_take(&reader, &taken));
    rayi_writer_fini(&writer);
    return taken;
}

member *add_member_with(const rayi_bus_ticket *ticket, uint32_t number)
{
    member *m = &members[number];
    *m = (member){.number = number};
    CHECK_OK(rayi_bus_open_node(&loop, ticket, number, &node_events, m, &m->bus));
    return m;
}

member *add_member(uint32_t number)
{
    rayi_bus_ticket ticket = ticket_now();
    return add_member_with(&ticket, number);
}

void publish(const char *words)
{
    CHECK_OK(rayi_bus_publish(head.bus, words, strlen(words)));
}

void publish_until(bool (*done)(void *arg), void *arg)
{
    int64_t until = rayi_now_ms() + (SANITIZED ? 30000 : 10000);
    while (!done(arg)) {
        cr_assert_lt(rayi_now_ms(), until, "never heard");
        publish("hello?");
        run_for(10);
    }
}

bool has_heard(void *arg)
{
    return ((member *)arg)->heard > 0;
}

void survey_once(uint32_t count)
{
    size_t before = head.surveyed;
    CHECK_OK(rayi_bus_survey(head.bus, count, "how?", 4));
    RUN_UNTIL(head.surveyed > before);
}

void survey_until(uint32_t count, uint32_t answers)
{
    int64_t until = rayi_now_ms() + (SANITIZED ? 60000 : 20000);
    do {
        cr_assert_lt(rayi_now_ms(), until, "never %u answers", answers);
        survey_once(count);
    } while (head.last_answers < answers);
}
