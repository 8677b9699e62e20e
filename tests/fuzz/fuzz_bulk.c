/* Both ends of the protocol of large objects, without sockets and threads: links, the clock and the threads that open
 * objects are the harness's, and the other end is played by the input. It says what would be right, or next to it, or
 * anything at all, while objects grow, fail and are opened late, sends fail, time passes and fetches are cancelled.
 *
 * Of who serves: each chunk that goes out was asked for, is there, and lies in an object that is pinned; what was
 * opened is closed once. Of who fetches: a fetch ends once; one that ends well has the right bytes, from peers that say
 * them; nothing is written to its memory after its end, whatever is still under way.
 *
 * The first byte: bit 0: this end serves, else it fetches; bit 1: links are sealed; bit 2: objects grow. The rest is a
 * list of steps, each a byte that says which, and its operands. */
#include "fuzz.h"

#include "transport/bulk_inside.h"

enum {
    OBJECTS = 4,
    CHUNK = 100,
    LARGEST = 1950,
    SIZE_MOST = LARGEST + CHUNK,
    LINKS = 3,
    MAX_STEPS = 400,
    LENT_MOST = 512,
    FETCHES = 3
};

static const size_t sizes[OBJECTS] = {0, 60, 250, LARGEST};

typedef struct line { /* a link, and what its other end, which is the input's, knows */
    rayi_link link;   /* first */
    bool used, closed, is_open;
    bool arriving, dropped; /* a body, to memory of the owner's */
    const void *lent[LENT_MOST];
    size_t first_lent, num_lent;
    struct {
        uint32_t number, size;
        uint64_t offset;
        uint32_t object;
    } asked[LENT_MOST]; /* GETs that are not answered yet: from the input, or to it */
    size_t num_asked;
    struct {
        uint32_t number;
        uint64_t object;
    } opened[64]; /* OPENs that came to it, a ring */
    size_t num_opened;
} line;

typedef struct fetched {
    uint8_t bytes[SIZE_MOST];
    bool begun, ended;
    int code;
    size_t size;
} fetched;

static struct {
    rayi_bulk bulk;
    rayi_transport transport;
    bool is_sealed, grows;
    int64_t now_ms;
    uint64_t fails; /* so many sends from now on one fails; 0: none */
    size_t queued;
    line lines[LINKS];
    rayi_bulk_job *jobs[1024];
    size_t num_jobs;
    uint8_t objects[OBJECTS][SIZE_MOST];
    rayi_bulk_marks *marks[OBJECTS];
    long pins[OBJECTS];
    int open_code; /* what the next opens say */
    fetched fetches[FETCHES];
} run;

/* ---- what stands in for the rest of the library ---- */

int64_t rayi_now_ns(void)
{
    return run.now_ms * 1000000;
}

int64_t rayi_now_ms(void)
{
    return run.now_ms;
}

int64_t rayi_wall_ms(void)
{
    return run.now_ms;
}

void rayi_nap_ms(int64_t span_ms)
{
    run.now_ms += span_ms;
}

int64_t rayi_moment_ms(int64_t span_ms)
{
    return run.now_ms + span_ms;
}

int64_t rayi_deadline_ns(int64_t timeout_ms)
{
    return timeout_ms < 0 ? INT64_MAX : (run.now_ms + timeout_ms) * 1000000;
}

void rayi_bulk_tune(rayi_link *link)
{
    (void)link;
}

int rayi_bulk_job_begin(rayi_bulk *bulk, rayi_bulk_job *job)
{
    (void)bulk;
    if (run.num_jobs == RAYI_COUNT_OF(run.jobs))
        return RAY_ERR_SYSTEM;
    run.jobs[run.num_jobs++] = job;
    return 0;
}

static line *line_of(rayi_link *link)
{
    line *l = (line *)link;
    FUZZ_CHECK(l->used && !l->closed);
    return l;
}

static line *new_line(const rayi_link_events *events, void *arg)
{
    for (int i = 0; i < LINKS; i++) {
        line *l = &run.lines[i];
        if (l->used)
            continue;
        memset(l, 0, sizeof *l);
        l->used = true;
        l->link = (rayi_link){.events = events, .arg = arg, .has_peer = run.is_sealed, .peer = {1}};
        return l;
    }
    return NULL;
}

int rayi_link_dial(rayi_transport *transport, const char *address, const char *who, int64_t timeout_ms,
                   const rayi_link_events *events, void *arg, rayi_link **out)
{
    line *l = new_line(events, arg);
    (void)transport, (void)address, (void)who, (void)timeout_ms;
    if (!l)
        return rayi_fail(RAY_ERR_SYSTEM, "no more links");
    *out = &l->link;
    return 0;
}

const uint8_t *rayi_link_peer(const rayi_link *link)
{
    return link->has_peer ? link->peer : NULL;
}

void rayi_link_set_arg(rayi_link *link, void *arg)
{
    line_of(link)->link.arg = arg;
}

size_t rayi_link_queued_bytes(const rayi_link *link)
{
    (void)link;
    return run.queued;
}

void rayi_link_close(rayi_link *link)
{
    line_of(link)->closed = true; /* freed when the step is over */
}

void rayi_link_drop_body(rayi_link *link)
{
    line *l = line_of(link);
    FUZZ_CHECK(l->arriving && !l->dropped);
    l->dropped = true;
}

static size_t find_asked(const line *l, uint32_t number)
{
    size_t i = 0;
    while (i < l->num_asked && l->asked[i].number != number)
        i++;
    return i;
}

static void ask(line *l, uint32_t number, uint32_t object, uint64_t offset, uint32_t size)
{
    if (l->num_asked == LENT_MOST) /* the oldest it has forgotten */
        memmove(l->asked, l->asked + 1, --l->num_asked * sizeof *l->asked);
    l->asked[l->num_asked].number = number;
    l->asked[l->num_asked].object = object;
    l->asked[l->num_asked].offset = offset;
    l->asked[l->num_asked++].size = size;
}

static void answered(line *l, size_t at)
{
    memmove(l->asked + at, l->asked + at + 1, (l->num_asked - at - 1) * sizeof *l->asked);
    l->num_asked--;
}

/* What this end says. */
static int heard(line *l, uint32_t type, const uint8_t *bytes, size_t size)
{
    uint32_t number = rayi_bulk_number(type);
    FUZZ_CHECK(l->is_open);
    if (run.fails > 0 && --run.fails == 0)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory");
    switch (rayi_bulk_kind(type)) {
    case RAYI_BULK_OPEN:
        FUZZ_CHECK(size == RAYI_BULK_OPEN_BYTES);
        l->opened[l->num_opened % RAYI_COUNT_OF(l->opened)].number = number;
        l->opened[l->num_opened++ % RAYI_COUNT_OF(l->opened)].object = rayi_load_u64(bytes);
        break;
    case RAYI_BULK_GET:
        FUZZ_CHECK(size == RAYI_BULK_GET_BYTES && find_asked(l, number) == l->num_asked);
        ask(l, number, rayi_load_u32(bytes), rayi_load_u64(bytes + 4), rayi_load_u32(bytes + 12));
        break;
    default:
        break;
    }
    return 0;
}

int rayi_link_send(rayi_link *link, uint32_t type, const void *bytes, size_t size_bytes)
{
    return heard(line_of(link), type, bytes, size_bytes);
}

int rayi_link_send_parts(rayi_link *link, uint32_t type, const struct iovec *parts, size_t num_parts)
{
    return heard(line_of(link), type, parts[0].iov_base, num_parts ? parts[0].iov_len : 0);
}

/* In which object these bytes lie. */
static int holder_of(const uint8_t *bytes, size_t size)
{
    int object = 0;
    while (object < OBJECTS && (bytes < run.objects[object] || bytes + size > run.objects[object] + sizes[object]))
        object++;
    FUZZ_CHECK(object < OBJECTS);
    return object;
}

/* A chunk that is served: one of those that were asked for under its number. */
int rayi_link_lend(rayi_link *link, uint32_t type, const void *bytes, size_t size_bytes)
{
    line *l = line_of(link);
    int r = heard(l, type, bytes, size_bytes), object = holder_of(bytes, size_bytes);
    uint64_t offset = (uint64_t)((const uint8_t *)bytes - run.objects[object]);
    size_t at = 0;
    if (r < 0)
        return r;
    while (at < l->num_asked && (l->asked[at].number != rayi_bulk_number(type) || l->asked[at].offset != offset ||
                                 l->asked[at].size != size_bytes))
        at++;
    FUZZ_CHECK(at < l->num_asked && l->num_lent < RAYI_BULK_REQUESTS && run.pins[object] > 0);
    FUZZ_CHECK(!run.marks[object] || rayi_bulk_marks_has(run.marks[object], offset, size_bytes));
    answered(l, at);
    l->lent[(l->first_lent + l->num_lent++) % LENT_MOST] = bytes;
    return 0;
}

/* ---- objects ---- */

static int open_object(void *arg, const uint8_t *peer, uint64_t object, uint64_t ticket, rayi_bulk_object *out)
{
    (void)arg, (void)ticket;
    FUZZ_CHECK(!peer == !run.is_sealed);
    if (run.open_code)
        return run.open_code > 0 ? RAYI_BULK_LATER : rayi_fail(RAY_ERR_NOT_FOUND, "not now");
    if (object >= OBJECTS)
        return rayi_fail(RAY_ERR_NOT_FOUND, "no such object");
    run.pins[object]++;
    *out = (rayi_bulk_object){.bytes = run.objects[object], .size_bytes = sizes[object], .pin = &run.pins[object]};
    if (run.marks[object])
        out->marks = rayi_bulk_marks_ref(run.marks[object]);
    return 0;
}

static void close_object(void *arg, void *pin)
{
    (void)arg;
    FUZZ_CHECK(*(long *)pin > 0);
    --*(long *)pin;
}

static void run_job(void)
{
    rayi_bulk_job *job = run.num_jobs ? run.jobs[0] : NULL;
    if (!job)
        return;
    memmove(run.jobs, run.jobs + 1, --run.num_jobs * sizeof *run.jobs);
    job->run(job);
    job->done(job);
}

/* ---- events of links ---- */

static void sweep(void)
{
    for (int i = 0; i < LINKS; i++)
        if (run.lines[i].closed)
            memset(&run.lines[i], 0, sizeof run.lines[i]);
}

static line *some_line(fuzz_bytes *in)
{
    line *l = &run.lines[fuzz_take(in, 1) % LINKS];
    return l->used ? l : NULL;
}

static void on_line_open(line *l)
{
    if (l->is_open)
        return;
    l->is_open = true;
    l->link.events->on_open(&l->link, l->link.arg);
}

static void on_line_over(line *l, uint64_t why)
{
    (void)rayi_fail(RAY_ERR_TIMEOUT, "the link is over");
    l->link.events->on_close(&l->link, l->link.arg, why % 8 == 7 && !l->is_open ? RAYI_LINK_AUTH : RAYI_LINK_SILENT);
    if (!l->closed)
        l->closed = true;
}

static void give_back(line *l, uint64_t count)
{
    for (; count > 0 && l->num_lent > 0 && !l->closed; count--) {
        const void *bytes = l->lent[l->first_lent];
        l->first_lent = (l->first_lent + 1) % LENT_MOST;
        l->num_lent--;
        l->link.events->on_returned(&l->link, l->link.arg, bytes);
    }
}

static void time_passes(uint64_t ms)
{
    run.now_ms += (int64_t)ms;
    rayi_bulk_fetch_tick(&run.bulk);
    rayi_bulk_peer_tick(&run.bulk);
}

/* Something else happens while a body arrives. */
static void interrupt(uint64_t what)
{
    if (what % 4 == 0 && run.bulk.fetches)
        rayi_bulk_fetch_end(run.bulk.fetches, RAY_ERR_SHUTDOWN);
    if (what % 4 == 1)
        time_passes(what);
}

static void say(line *l, uint32_t type, const uint8_t *bytes, size_t size, uint64_t meanwhile)
{
    uint8_t *copy = malloc(size + 1), *to = NULL;
    FUZZ_CHECK(copy);
    if (size > 0)
        memcpy(copy, bytes, size);
    l->link.num_received += 1 + size;
    if (size > 0 && l->link.events->on_body)
        to = l->link.events->on_body(&l->link, l->link.arg, type, size);
    if (to) {
        l->arriving = true;
        memcpy(to, copy, size / 2);
        interrupt(meanwhile);
    }
    if (to && !l->closed && !l->dropped)
        memcpy(to + size / 2, copy + size / 2, size - size / 2);
    bool goes = !l->closed && !l->dropped;
    l->arriving = l->dropped = false;
    if (goes)
        l->link.events->on_message(&l->link, l->link.arg, type, to ? to : copy, size);
    free(copy);
}

/* Mostly what would be right, or next to it. */
static uint64_t near(fuzz_bytes *in, uint64_t right)
{
    uint64_t how = fuzz_take(in, 1);
    if (how < 160)
        return right;
    return how < 250 ? right + how - 205 : fuzz_take(in, 8);
}

/* ---- who fetches, played ---- */

static void say_open(fuzz_bytes *in, line *l)
{
    uint8_t bytes[RAYI_BULK_OPEN_BYTES];
    uint64_t object = fuzz_take(in, 1) % (OBJECTS + 1);
    rayi_store_u64(bytes, object);
    rayi_store_u64(bytes + 8, fuzz_take(in, 1));
    rayi_store_u64(bytes + 16, near(in, object < OBJECTS ? sizes[object] : 0));
    say(l, rayi_bulk_type(RAYI_BULK_OPEN, (uint32_t)fuzz_take(in, 1)), bytes, sizeof bytes, 0);
}

static void say_get(fuzz_bytes *in, line *l)
{
    uint8_t bytes[RAYI_BULK_GET_BYTES];
    uint32_t number = (uint32_t)fuzz_take(in, 1), object = (uint32_t)fuzz_take(in, 1);
    uint64_t offset = near(in, fuzz_take(in, 1) % 20 * CHUNK);
    uint32_t size = (uint32_t)near(in, CHUNK);
    rayi_store_u32(bytes, object);
    rayi_store_u64(bytes + 4, offset);
    rayi_store_u32(bytes + 12, size);
    ask(l, number, object, offset, size);
    say(l, rayi_bulk_type(RAYI_BULK_GET, number), bytes, sizeof bytes, 0);
}

/* ---- who serves, played ---- */

static void say_opened(fuzz_bytes *in, line *l)
{
    uint8_t bytes[RAYI_BULK_OPENED_BYTES + 250] = {0};
    size_t words = fuzz_take(in, 1);
    uint32_t last = l->num_opened ? l->opened[(l->num_opened - 1) % RAYI_COUNT_OF(l->opened)].number : 1;
    static const int codes[] = {0, 0, RAYI_BULK_LATER, RAYI_BULK_CLOSED, RAY_ERR_NOT_FOUND, RAY_ERR_OBJECT_LOST};
    uint64_t code = fuzz_take(in, 1);
    rayi_store_u32(bytes, code < 250 ? (uint32_t)codes[code % RAYI_COUNT_OF(codes)] : (uint32_t)fuzz_take(in, 4));
    say(l, rayi_bulk_type(RAYI_BULK_OPENED, (uint32_t)near(in, last)), bytes,
        RAYI_BULK_OPENED_BYTES + RAYI_MIN(words, 250u), 0);
}

static uint64_t object_of(const line *l, uint32_t number)
{
    for (size_t i = RAYI_MIN(l->num_opened, RAYI_COUNT_OF(l->opened)); i-- > 0;)
        if (l->opened[i].number == number)
            return l->opened[i].object;
    return OBJECTS;
}

/* A chunk that was asked for; damaged now and then where a checksum tells, or of another size. */
static void say_body(fuzz_bytes *in, line *l)
{
    uint8_t bytes[2 * CHUNK + 300], sum[RAYI_BULK_SUM_BYTES];
    size_t at = l->num_asked ? fuzz_take(in, 1) % l->num_asked : 0;
    uint64_t how = fuzz_take(in, 1), meanwhile = fuzz_take(in, 1);
    if (l->num_asked == 0)
        return;
    uint32_t number = l->asked[at].number, size = l->asked[at].size;
    uint64_t object = object_of(l, l->asked[at].object);
    if (object >= OBJECTS || l->asked[at].offset + size > sizes[object] || size > CHUNK)
        return;
    memcpy(bytes, run.objects[object] + l->asked[at].offset, size);
    rayi_store_u64(sum, rayi_sum(bytes, size, 0));
    answered(l, at);
    if (!run.is_sealed && how >= 220)
        bytes[0] ^= 1;
    else if (how >= 240)
        size += 7;
    if (!run.is_sealed && how < 230)
        say(l, rayi_bulk_type(RAYI_BULK_SUM, number), sum, sizeof sum, 0);
    if (!l->closed)
        say(l, rayi_bulk_type(RAYI_BULK_BODY, number), bytes, size, meanwhile);
}

/* Anything that cannot be taken for bytes of a chunk: who has the key is believed. */
static void say_anything(fuzz_bytes *in, line *l)
{
    uint8_t bytes[300];
    uint32_t type = (uint32_t)fuzz_take(in, 4);
    size_t size = fuzz_take(in, 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)fuzz_take(in, 1);
    if (rayi_bulk_kind(type) != RAYI_BULK_BODY && rayi_bulk_kind(type) != RAYI_BULK_SUM)
        say(l, type, bytes, size, 0);
}

/* ---- fetches ---- */

static void on_fetched(void *arg, int code)
{
    fetched *f = arg;
    FUZZ_CHECK(f->begun && !f->ended);
    f->ended = true;
    f->code = code;
    if (code == 0)
        FUZZ_CHECK(memcmp(f->bytes, run.objects[f - run.fetches + 1], f->size) == 0);
    for (size_t i = f->size; i < sizeof f->bytes; i++)
        FUZZ_CHECK(f->bytes[i] == 0xEE);     /* never the fetch's */
    memset(f->bytes, 0xEE, sizeof f->bytes); /* the caller's again */
}

static bool may_ask(void *arg, size_t source)
{
    (void)source;
    return run.now_ms % 97 != 0 || !arg;
}

static void begin_fetch(fuzz_bytes *in)
{
    size_t which = fuzz_take(in, 1) % FETCHES, num_sources = 1 + fuzz_take(in, 1) % 3;
    static const char *const addresses[] = {"a:1", "b:1", "c:1"};
    static const uint8_t key[RAYI_NOISE_KEY] = {1}, other[RAYI_NOISE_KEY] = {2};
    rayi_bulk_source sources[3];
    fetched *f = &run.fetches[which];
    uint64_t span = fuzz_take(in, 1);
    if (f->begun)
        return;
    for (size_t i = 0; i < num_sources; i++) {
        uint64_t how = fuzz_take(in, 1);
        sources[i] = (rayi_bulk_source){.address = addresses[how % 3],
                                        .object = which + 1,
                                        .peer = how & 64    ? NULL
                                                : how & 128 ? other
                                                            : key};
    }
    f->size = sizes[which + 1];
    f->begun = true;
    memset(f->bytes, 0xEE, sizeof f->bytes);
    rayi_bulk_want want = {.sources = sources,
                           .num_sources = num_sources,
                           .size_bytes = f->size,
                           .to = f->bytes,
                           .deadline_ns = span ? rayi_deadline_ns((int64_t)span * 100) : INT64_MAX,
                           .marks = run.marks[which + 1],
                           .may_ask = span & 1 ? may_ask : NULL,
                           .may_ask_arg = span & 2 ? &run : NULL};
    FUZZ_CHECK(rayi_bulk_fetch_begin(&run.bulk, &want, on_fetched, f) == 0);
    rayi_bulk_fetching *fetch = run.bulk.begun;
    DL_DELETE(run.bulk.begun, fetch);
    rayi_bulk_fetch_start(fetch);
}

/* ---- steps ---- */

static void serve_step(fuzz_bytes *in, line *l, uint64_t what)
{
    switch (what % 6) {
    case 0:
        say_open(in, l);
        break;
    case 1:
    case 2:
        say_get(in, l);
        break;
    case 3:
        say(l, rayi_bulk_type(RAYI_BULK_CLOSE, (uint32_t)fuzz_take(in, 1)), NULL, 0, 0);
        break;
    case 4:
        give_back(l, fuzz_take(in, 1));
        break;
    default:
        say_anything(in, l);
    }
}

static void fetch_step(fuzz_bytes *in, line *l, uint64_t what)
{
    switch (what % 6) {
    case 0:
        say_opened(in, l);
        break;
    case 1:
    case 2:
    case 3:
        say_body(in, l);
        break;
    case 4:
        say(l, rayi_bulk_type(RAYI_BULK_PONG, 0), NULL, 0, 0);
        break;
    default:
        say_anything(in, l);
    }
}

/* An object of this end grows, or will not. */
static void grow(fuzz_bytes *in)
{
    size_t object = 1 + fuzz_take(in, 1) % (OBJECTS - 1);
    uint64_t chunk = fuzz_take(in, 1);
    rayi_bulk_marks *marks = run.marks[object];
    if (!marks)
        return;
    if (chunk > 240)
        rayi_bulk_marks_fail(marks);
    else if (chunk * CHUNK < sizes[object])
        rayi_bulk_marks_set(marks, chunk);
    rayi_bulk_serve_waiting(&run.bulk);
}

static void step_of_all(fuzz_bytes *in, uint64_t what, bool serves)
{
    line *l;
    switch (what % 8) {
    case 0:
        if (!serves)
            begin_fetch(in);
        else if ((l = new_line(&rayi_bulk_client_events, &run.bulk)))
            on_line_open(l);
        break;
    case 1:
        run_job();
        break;
    case 2:
        if (serves)
            grow(in);
        break;
    case 3:
        time_passes(fuzz_take(in, 1) * 20);
        break;
    case 4:
        if ((l = some_line(in)))
            on_line_over(l, what);
        break;
    case 5:
        run.fails = fuzz_take(in, 1) % 32;
        run.open_code = (int)(fuzz_take(in, 1) % 6) - 4 > 0 ? 1 : what & 64 ? -1 : 0;
        break;
    case 6:
        run.queued = run.queued ? 0 : 1000;
        for (int i = 0; i < LINKS && !run.queued; i++)
            if (run.lines[i].used && run.lines[i].link.events->on_drain)
                run.lines[i].link.events->on_drain(&run.lines[i].link, run.lines[i].link.arg);
        break;
    default:
        if ((l = some_line(in)))
            on_line_open(l);
    }
}

static void step(fuzz_bytes *in, bool serves)
{
    uint64_t what = fuzz_take(in, 1);
    line *l;
    if (what % 3 == 0) {
        step_of_all(in, what / 3, serves);
    } else if ((l = some_line(in)) && l->is_open) {
        if (serves)
            serve_step(in, l, what / 3);
        else
            fetch_step(in, l, what / 3);
    }
    sweep();
}

static void start(uint64_t how)
{
    static uv_loop_t loop;
    static uv_async_t wake;
    static bool is_made;
    memset(&run, 0, sizeof run);
    if (!is_made) { /* rayi_bulk_fetch_begin wakes it; nobody sleeps */
        FUZZ_CHECK(uv_loop_init(&loop) == 0 && uv_async_init(&loop, &wake, NULL) == 0);
        is_made = true;
    }
    run.is_sealed = how & 2;
    run.now_ms = 1000;
    run.transport.options.drain_bytes = 500;
    run.bulk.transport = &run.transport;
    run.bulk.wake = wake;
    run.bulk.options = (rayi_bulk_options){.open = open_object,
                                           .close = close_object,
                                           .chunk_bytes = CHUNK,
                                           .window_bytes = 4 * CHUNK,
                                           .idle_ms = 3000,
                                           .silent_ms = 2000};
    FUZZ_CHECK(pthread_mutex_init(&run.bulk.lock, NULL) == 0);
    for (int i = 0; i < OBJECTS; i++) {
        for (size_t k = 0; k < sizes[i]; k++)
            run.objects[i][k] = (uint8_t)(i * 37 + (int)k + (int)k / 100);
        if (how & 4)
            FUZZ_CHECK(rayi_bulk_marks_new(sizes[i], CHUNK, &run.marks[i]) == 0);
    }
}

static void stop(void)
{
    while (run.bulk.fetches)
        rayi_bulk_fetch_end(run.bulk.fetches, RAY_ERR_SHUTDOWN);
    rayi_bulk_peer_free_all(&run.bulk);
    rayi_bulk_client_free_all(&run.bulk);
    while (run.num_jobs)
        run_job();
    for (int i = 0; i < FETCHES; i++) {
        const fetched *f = &run.fetches[i];
        FUZZ_CHECK(f->begun == f->ended);
        for (size_t k = 0; k < sizeof f->bytes && f->ended; k++)
            FUZZ_CHECK(f->bytes[k] == 0xEE);
    }
    for (int i = 0; i < OBJECTS; i++) {
        FUZZ_CHECK(run.pins[i] == 0 && (!run.marks[i] || atomic_load(&run.marks[i]->count) == 1));
        rayi_bulk_marks_unref(run.marks[i]);
    }
    FUZZ_CHECK(!run.bulk.peers && !run.bulk.clients && !run.bulk.fetches);
    pthread_mutex_destroy(&run.bulk.lock);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_bytes in = {data, size};
    uint64_t how = fuzz_take(&in, 1);
    start(how);
    for (int i = 0; i < MAX_STEPS && in.left > 0; i++)
        step(&in, how & 1);
    stop();
    return 0;
}
