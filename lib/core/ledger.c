/* The ledger. An entry keeps what is to be done for it as bits, in the order of rayi_ledger_do, so that no event needs
 * memory but the first. Deadlines are in a heap. Entries with something to do are in a list, first come first served.
 */
#include "core/core.h"

#define NOT_IN_HEAP SIZE_MAX
#define BIT(what)   (1u << (what))

typedef struct entry {
    UT_hash_handle hh;
    struct entry *prev, *next; /* in the outbox, while todo is not 0 */
    uint64_t id;
    int64_t deadline_ms;
    size_t heap_index;
    uint32_t attempt;
    int32_t retries_left; /* -1: for ever */
    unsigned todo;
    rayi_ledger_state state;
    rayi_outcome outcome; /* once ended */
    bool retry_failures, cancelled, expired;
} entry;

struct rayi_ledger {
    const rayi_memory *memory;
    entry *entries;
    entry *outbox;
    entry **heap; /* those with a deadline, the earliest first */
    size_t heap_count, heap_room;
    size_t counts[RAYI_LEDGER_ENDED + 1];
};

/* ---- the state machine ---- */

typedef enum ledger_event { READY, GRANTED, TRY_AGAIN, MISSING, END } ledger_event;

static rayi_ledger_state next_state(rayi_ledger_state state, ledger_event event)
{
    switch (state) {
    case RAYI_LEDGER_HELD:
        RAYI_ASSERT(event == READY || event == END);
        return event == READY ? RAYI_LEDGER_WAITING : RAYI_LEDGER_ENDED;
    case RAYI_LEDGER_WAITING:
        RAYI_ASSERT(event == GRANTED || event == END);
        return event == GRANTED ? RAYI_LEDGER_GRANTED : RAYI_LEDGER_ENDED;
    case RAYI_LEDGER_GRANTED:
        RAYI_ASSERT(event == TRY_AGAIN || event == MISSING || event == END);
        return event == TRY_AGAIN ? RAYI_LEDGER_WAITING : event == MISSING ? RAYI_LEDGER_HELD : RAYI_LEDGER_ENDED;
    case RAYI_LEDGER_ENDED:
        break;
    }
    RAYI_ASSERT(!"an entry ends once");
}

static void go(rayi_ledger *ledger, entry *e, ledger_event event)
{
    ledger->counts[e->state]--;
    e->state = next_state(e->state, event);
    ledger->counts[e->state]++;
}

/* ---- the heap of deadlines ---- */

static void heap_put(rayi_ledger *ledger, size_t at, entry *e)
{
    ledger->heap[at] = e;
    e->heap_index = at;
}

/* Moves e from `at`, where anything may be, to where it belongs. */
static void heap_sift(rayi_ledger *ledger, size_t at, entry *e)
{
    for (; at > 0 && ledger->heap[(at - 1) / 2]->deadline_ms > e->deadline_ms; at = (at - 1) / 2)
        heap_put(ledger, at, ledger->heap[(at - 1) / 2]);
    for (size_t child; (child = 2 * at + 1) < ledger->heap_count; at = child) {
        if (child + 1 < ledger->heap_count && ledger->heap[child + 1]->deadline_ms < ledger->heap[child]->deadline_ms)
            child++;
        if (ledger->heap[child]->deadline_ms >= e->deadline_ms)
            break;
        heap_put(ledger, at, ledger->heap[child]);
    }
    heap_put(ledger, at, e);
}

static int heap_make_room(rayi_ledger *ledger)
{
    if (ledger->heap_count < ledger->heap_room)
        return 0;
    size_t room = RAYI_MAX(16, 2 * ledger->heap_room);
    entry **heap = rayi_memory_realloc(ledger->memory, ledger->heap, room * sizeof *heap);
    if (!heap)
        return RAY_ERR_NO_MEMORY;
    ledger->heap = heap;
    ledger->heap_room = room;
    return 0;
}

static void heap_add(rayi_ledger *ledger, entry *e)
{
    heap_sift(ledger, ledger->heap_count++, e);
}

static void heap_remove(rayi_ledger *ledger, entry *e)
{
    if (e->heap_index == NOT_IN_HEAP)
        return;
    size_t at = e->heap_index;
    entry *last = ledger->heap[--ledger->heap_count];
    if (last != e)
        heap_sift(ledger, at, last);
    e->heap_index = NOT_IN_HEAP;
}

/* ---- making and unmaking ---- */

int rayi_ledger_new(const rayi_memory *memory, rayi_ledger **out)
{
    rayi_ledger *ledger = rayi_memory_zalloc(memory, sizeof *ledger);
    if (!ledger)
        return RAY_ERR_NO_MEMORY;
    ledger->memory = memory;
    *out = ledger;
    return 0;
}

static void free_entry(rayi_ledger *ledger, entry *e)
{
    const rayi_memory *memory = ledger->memory;
    ledger->counts[e->state]--;
    heap_remove(ledger, e);
    HASH_DELETE(hh, ledger->entries, e);
    rayi_memory_free(memory, e);
}

void rayi_ledger_free(rayi_ledger *ledger)
{
    if (!ledger)
        return;
    while (ledger->entries)
        free_entry(ledger, ledger->entries);
    rayi_memory_free(ledger->memory, ledger->heap);
    rayi_memory_free(ledger->memory, ledger);
}

static entry *find(const rayi_ledger *ledger, uint64_t id)
{
    entry *e;
    HASH_FIND(hh, ledger->entries, &id, sizeof id, e);
    return e;
}

/* ---- what is to be done ---- */

static void set_todo(rayi_ledger *ledger, entry *e, unsigned todo)
{
    if (!e->todo && todo)
        DL_APPEND(ledger->outbox, e);
    if (e->todo && !todo)
        DL_DELETE(ledger->outbox, e);
    e->todo = todo;
}

/* Only giving back what is held is still to be done for an entry that ends, and the end itself. */
static void end(rayi_ledger *ledger, entry *e, rayi_outcome outcome, unsigned todo)
{
    go(ledger, e, END);
    heap_remove(ledger, e);
    e->outcome = outcome;
    set_todo(ledger, e, (e->todo & BIT(RAYI_LEDGER_GIVE_BACK)) | todo | BIT(RAYI_LEDGER_END));
}

/* Before it was granted: the scheduler has it unless it is HELD, or its SUBMIT was not fetched. */
static void end_unstarted(rayi_ledger *ledger, entry *e, rayi_outcome outcome)
{
    bool submitted = e->state == RAYI_LEDGER_WAITING && !(e->todo & BIT(RAYI_LEDGER_SUBMIT));
    end(ledger, e, outcome, submitted ? BIT(RAYI_LEDGER_WITHDRAW) : 0);
}

static void expire(rayi_ledger *ledger, entry *e)
{
    heap_remove(ledger, e);
    e->expired = true;
    if (e->state == RAYI_LEDGER_GRANTED)
        set_todo(ledger, e, e->todo | BIT(RAYI_LEDGER_EXPIRE));
    else
        end_unstarted(ledger, e, RAYI_OUTCOME_EXPIRED);
}

/* ---- events ---- */

static void submit(rayi_ledger *ledger, entry *e)
{
    set_todo(ledger, e, e->todo | BIT(RAYI_LEDGER_SUBMIT));
}

static entry *new_entry(rayi_ledger *ledger, uint64_t id, const rayi_ledger_options *options)
{
    const rayi_memory *memory = ledger->memory;
    entry *e = rayi_memory_zalloc(memory, sizeof *e);
    if (!e)
        return NULL;
    e->id = id;
    e->deadline_ms = options->deadline_ms;
    e->heap_index = NOT_IN_HEAP;
    e->retries_left = options->retries;
    e->retry_failures = options->retry_failures;
    e->state = options->held ? RAYI_LEDGER_HELD : RAYI_LEDGER_WAITING;
    HASH_ADD(hh, ledger->entries, id, sizeof e->id, e);
    if (!e->hh.tbl) {
        rayi_memory_free(memory, e);
        return NULL;
    }
    return e;
}

int rayi_ledger_add(rayi_ledger *ledger, uint64_t id, const rayi_ledger_options *options, int64_t now_ms)
{
    RAYI_ASSERT(!find(ledger, id) && options->retries >= -1);
    bool timed = options->deadline_ms != INT64_MAX;
    if (timed && heap_make_room(ledger))
        return RAY_ERR_NO_MEMORY;
    entry *e = new_entry(ledger, id, options);
    if (!e)
        return RAY_ERR_NO_MEMORY;
    ledger->counts[e->state]++;
    if (timed)
        heap_add(ledger, e);
    if (!options->held)
        submit(ledger, e);
    if (options->deadline_ms <= now_ms)
        expire(ledger, e);
    return 0;
}

void rayi_ledger_ready(rayi_ledger *ledger, uint64_t id)
{
    entry *e = find(ledger, id);
    if (!e || e->state == RAYI_LEDGER_ENDED)
        return;
    go(ledger, e, READY);
    submit(ledger, e);
}

void rayi_ledger_granted(rayi_ledger *ledger, uint64_t id)
{
    entry *e = find(ledger, id);
    RAYI_ASSERT(e);
    if (e->state == RAYI_LEDGER_ENDED) { /* the grant crossed its WITHDRAW */
        RAYI_ASSERT(e->todo & BIT(RAYI_LEDGER_WITHDRAW));
        set_todo(ledger, e, (e->todo & ~BIT(RAYI_LEDGER_WITHDRAW)) | BIT(RAYI_LEDGER_GIVE_BACK));
        return;
    }
    RAYI_ASSERT(!(e->todo & BIT(RAYI_LEDGER_SUBMIT)));
    go(ledger, e, GRANTED);
    set_todo(ledger, e, e->todo | BIT(RAYI_LEDGER_RUN));
}

void rayi_ledger_refused(rayi_ledger *ledger, uint64_t id)
{
    entry *e = find(ledger, id);
    RAYI_ASSERT(e);
    if (e->state == RAYI_LEDGER_ENDED) { /* the refusal crossed its WITHDRAW */
        set_todo(ledger, e, e->todo & ~BIT(RAYI_LEDGER_WITHDRAW));
        return;
    }
    RAYI_ASSERT(e->state != RAYI_LEDGER_GRANTED);
    end(ledger, e, RAYI_OUTCOME_REFUSED, 0);
}

bool rayi_outcome_tries_again(rayi_outcome outcome, bool asked_to_stop, bool retry_failures, int32_t *retries)
{
    if (*retries == 0 || asked_to_stop)
        return false;
    switch (outcome) {
    case RAYI_OUTCOME_FAILED:
        if (!retry_failures)
            return false;
        break;
    case RAYI_OUTCOME_AGAIN:
    case RAYI_OUTCOME_CRASHED:
        break;
    case RAYI_OUTCOME_OK:
    case RAYI_OUTCOME_CANCELLED:
    case RAYI_OUTCOME_EXPIRED:
    case RAYI_OUTCOME_REFUSED:
        return false;
    }
    if (*retries > 0)
        --*retries;
    return true;
}

/* What became of a try, seen from what was asked for meanwhile. */
static rayi_outcome settle(const entry *e, rayi_outcome outcome)
{
    if (outcome == RAYI_OUTCOME_OK)
        return outcome;
    return e->cancelled ? RAYI_OUTCOME_CANCELLED : e->expired ? RAYI_OUTCOME_EXPIRED : outcome;
}

void rayi_ledger_finished(rayi_ledger *ledger, uint64_t id, rayi_outcome outcome)
{
    entry *e = find(ledger, id);
    RAYI_ASSERT(e && e->state == RAYI_LEDGER_GRANTED);
    outcome = settle(e, outcome);
    if (!rayi_outcome_tries_again(outcome, e->cancelled || e->expired, e->retry_failures, &e->retries_left)) {
        end(ledger, e, outcome, BIT(RAYI_LEDGER_GIVE_BACK));
        return;
    }
    go(ledger, e, TRY_AGAIN);
    e->attempt++;
    set_todo(ledger, e, BIT(RAYI_LEDGER_GIVE_BACK) | BIT(RAYI_LEDGER_RETRY) | BIT(RAYI_LEDGER_SUBMIT));
}

void rayi_ledger_returned(rayi_ledger *ledger, uint64_t id)
{
    entry *e = find(ledger, id);
    RAYI_ASSERT(e && e->state == RAYI_LEDGER_GRANTED);
    if (e->cancelled || e->expired) {
        end(ledger, e, settle(e, RAYI_OUTCOME_CANCELLED), BIT(RAYI_LEDGER_GIVE_BACK));
        return;
    }
    go(ledger, e, TRY_AGAIN);
    set_todo(ledger, e, BIT(RAYI_LEDGER_GIVE_BACK) | BIT(RAYI_LEDGER_RETRY) | BIT(RAYI_LEDGER_SUBMIT));
}

void rayi_ledger_missing(rayi_ledger *ledger, uint64_t id)
{
    entry *e = find(ledger, id);
    RAYI_ASSERT(e && e->state == RAYI_LEDGER_GRANTED);
    if (e->cancelled || e->expired) {
        end(ledger, e, settle(e, RAYI_OUTCOME_CANCELLED), BIT(RAYI_LEDGER_GIVE_BACK));
        return;
    }
    go(ledger, e, MISSING);
    set_todo(ledger, e, BIT(RAYI_LEDGER_GIVE_BACK));
}

bool rayi_ledger_cancel(rayi_ledger *ledger, uint64_t id)
{
    entry *e = find(ledger, id);
    if (!e || e->state == RAYI_LEDGER_ENDED)
        return false;
    if (e->state == RAYI_LEDGER_GRANTED)
        e->cancelled = true;
    else
        end_unstarted(ledger, e, RAYI_OUTCOME_CANCELLED);
    return true;
}

void rayi_ledger_tick(rayi_ledger *ledger, int64_t now_ms)
{
    while (ledger->heap_count && ledger->heap[0]->deadline_ms <= now_ms)
        expire(ledger, ledger->heap[0]);
}

int64_t rayi_ledger_next_deadline(const rayi_ledger *ledger)
{
    return ledger->heap_count ? ledger->heap[0]->deadline_ms : INT64_MAX;
}

/* ---- actions ---- */

bool rayi_ledger_next(rayi_ledger *ledger, rayi_ledger_action *out)
{
    entry *e = ledger->outbox;
    if (!e)
        return false;
    rayi_ledger_do what = (rayi_ledger_do)__builtin_ctz(e->todo);
    *out = (rayi_ledger_action){.what = what, .outcome = e->outcome, .id = e->id, .attempt = e->attempt};
    set_todo(ledger, e, e->todo & ~BIT(what));
    if (what == RAYI_LEDGER_END)
        free_entry(ledger, e);
    return true;
}

bool rayi_ledger_get(const rayi_ledger *ledger, uint64_t id, rayi_ledger_state *state, uint32_t *attempt)
{
    const entry *e = find(ledger, id);
    if (!e)
        return false;
    *state = e->state;
    *attempt = e->attempt;
    return true;
}

size_t rayi_ledger_count(const rayi_ledger *ledger, rayi_ledger_state state)
{
    return ledger->counts[state];
}
