/* The interpreter of toy.h. A frame of the library is one run; what a run has is here on the stack. */
#include "toy.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH = 16, WORD = 64 };

typedef struct run {
    ray_frame *frame;
    const char *at; /* in the code */
    int64_t stack[DEPTH];
    int top;
    char text[WORD]; /* the result, if it is no number */
    bool has_text, has_failed, is_later;
    size_t num_bytes;
    ray_later *later;
} run;

static atomic_llong calls;

static void sleep_ms(int64_t ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void fail(run *r, int code, const char *text)
{
    ray_fail_with(code, text, r->frame->name, strlen(r->frame->name) + 1);
    r->has_failed = true;
}

static void push(run *r, int64_t number)
{
    if (r->top == DEPTH)
        fail(r, -1, "the stack is full");
    else
        r->stack[r->top++] = number;
}
static int64_t pop(run *r)
{
    if (r->top > 0)
        return r->stack[--r->top];
    fail(r, -1, "the stack is empty");
    return 0;
}

static bool next_word(run *r, char word[WORD])
{
    int size = 0;
    if (sscanf(r->at, "%63s%n", word, &size) != 1)
        return false;
    r->at += size;
    return true;
}

/* ---- arguments ---- */

static ray_view bytes_of(const ray_value *value)
{
    if (value->kind == RAY_KIND_VALUE)
        value = value->data;
    if (value->kind == RAY_KIND_BYTES)
        return *(ray_view *)value->data;
    return (ray_view){0};
}

static int64_t number_in(ray_view bytes, int64_t index)
{
    char text[256] = "";
    const char *at = text;
    memcpy(text, bytes.data, bytes.size < sizeof text ? bytes.size : sizeof text - 1);
    while (index-- > 0)
        at += strcspn(at, " "), at += strspn(at, " ");
    return atoll(at);
}

static ray_view argument(run *r, int64_t index)
{
    if (index >= 0 && (size_t)index < r->frame->num_args)
        return bytes_of(&r->frame->args[index]);
    fail(r, -1, "no such argument");
    return (ray_view){0};
}

/* ---- words that call the library ---- */

static int64_t value_of(run *r, ray_ref *ref)
{
    ray_view view;
    int64_t number = 0;
    int code = ray_get(ref, &view);
    ray_release(ref);
    if (code != 0) {
        fail(r, code, ray_last_error()->message);
        return 0;
    }
    number = number_in(view, 0);
    ray_view_release(&view);
    return number;
}

static ray_ref *submit(const char *name, int64_t number)
{
    char text[32];
    ray_view view = ray_view_of(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)number));
    ray_function *function = ray_function_get(name);
    return ray_submit(function, &(ray_value){.kind = RAY_KIND_BYTES, .size = sizeof view, .data = &view}, 1, NULL);
}

static int64_t call_self(run *r, const char *name, int64_t number)
{
    char text[32], method[256];
    ray_view view = ray_view_of(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)number));
    ray_actor *self = ray_actor_self();
    snprintf(method, sizeof method, "%s", r->frame->name);
    *strrchr(method, '.') = 0;
    snprintf(method + strlen(method), sizeof method - strlen(method), ".%s", name);
    ray_ref *ref = ray_actor_submit(self, ray_function_get(method),
                                    &(ray_value){.kind = RAY_KIND_BYTES, .size = sizeof view, .data = &view}, 1,
                                    &(ray_task_options){.concurrency_group = "inner"});
    ray_actor_release(self);
    return value_of(r, ref);
}

static int64_t put_and_get(run *r, int64_t number)
{
    char text[32];
    int size = snprintf(text, sizeof text, "%lld", (long long)number);
    return value_of(r, ray_put(text, (size_t)size));
}

/* One more under this key of the table; who counts there runs alone. */
static void count(const char *name)
{
    char text[32];
    ray_view view;
    long long number = 1;
    if (ray_kv_get(name, &view) == 0) {
        number += number_in(view, 0);
        ray_view_release(&view);
    }
    if (ray_kv_put(name, text, (size_t)snprintf(text, sizeof text, "%lld", number), 0) != 0)
        abort();
}

static void give_text(run *r, const char *text)
{
    snprintf(r->text, sizeof r->text, "%s", text ? text : "(none)");
    r->has_text = true;
}

static void yield(run *r)
{
    char text[32];
    ray_view view = ray_view_of(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)pop(r)));
    if (ray_yield(&view) != 0)
        r->at = "";
}

/* ---- results that come later ---- */

typedef struct promise {
    ray_later *later;
    int64_t number, ms;
} promise;

static void *keep_promise(void *arg)
{
    promise *p = arg;
    char text[32];
    ray_view view = ray_view_of(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)p->number));
    for (int64_t left = p->ms; left > 0 && !ray_later_cancelled(p->later); left--)
        sleep_ms(1);
    if (p->number < 0)
        ray_complete_failed(p->later, (int)p->number, "a broken promise", NULL, 0);
    else
        ray_complete(p->later, &(ray_value){.kind = RAY_KIND_BYTES, .size = sizeof view, .data = &view});
    free(p);
    return NULL;
}

static void promise_result(run *r, int64_t ms)
{
    promise *p = malloc(sizeof *p);
    pthread_t thread;
    *p = (promise){.later = ray_complete_later(), .number = pop(r), .ms = ms};
    if (!p->later || pthread_create(&thread, NULL, keep_promise, p) != 0)
        abort();
    pthread_detach(thread);
    r->is_later = true;
}

/* ---- the words ---- */

static bool do_simple(run *r, const char *word)
{
    if (strcmp(word, "add") == 0)
        push(r, pop(r) + pop(r));
    else if (strcmp(word, "mul") == 0)
        push(r, pop(r) * pop(r));
    else if (strcmp(word, "dup") == 0)
        push(r, r->stack[r->top - 1]);
    else if (strcmp(word, "pid") == 0)
        push(r, getpid());
    else if (strcmp(word, "calls") == 0)
        push(r, atomic_load(&calls));
    else if (strcmp(word, "attempt") == 0)
        push(r, ray_context_get()->attempt);
    else if (strcmp(word, "restarts") == 0)
        push(r, ray_context_get()->restarts);
    else if (strcmp(word, "load") == 0)
        push(r, (*(toy_object **)r->frame->self)->number);
    else if (strcmp(word, "set") == 0)
        (*(toy_object **)r->frame->self)->number = pop(r);
    else if (strcmp(word, "put") == 0)
        push(r, put_and_get(r, pop(r)));
    else if (strcmp(word, "bytes") == 0)
        r->num_bytes = (size_t)pop(r);
    else if (strcmp(word, "yield") == 0)
        yield(r);
    else if (strcmp(word, "gpus") == 0)
        give_text(r, getenv("CUDA_VISIBLE_DEVICES"));
    else
        return false;
    return true;
}

static bool do_special(const char *word)
{
    if (strcmp(word, "crash") == 0) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would make an exit of it */
        raise(SIGSEGV);
    } else if (strcmp(word, "exit") == 0) {
        _exit(3);
    } else if (strcmp(word, "again") == 0) {
        ray_fail_again(true);
    } else if (strcmp(word, "not-again") == 0) {
        ray_fail_again(false);
    } else if (strcmp(word, "leave") == 0) {
        ray_actor_exit();
    } else if (strcmp(word, "wait") == 0) {
        while (!ray_cancelled())
            sleep_ms(1);
    } else {
        return false;
    }
    return true;
}

static bool do_with_operand(run *r, const char *word, const char *operand)
{
    int64_t number = atoll(operand);
    if (strcmp(word, "push") == 0)
        push(r, number);
    else if (strcmp(word, "arg") == 0)
        push(r, number_in(argument(r, 0), number));
    else if (strcmp(word, "ref") == 0)
        push(r, number_in(argument(r, number), 0));
    else if (strcmp(word, "size") == 0)
        push(r, (int64_t)argument(r, number).size);
    else if (strcmp(word, "sleep") == 0)
        sleep_ms(number);
    else if (strcmp(word, "submit") == 0)
        push(r, value_of(r, submit(operand, pop(r))));
    else if (strcmp(word, "self") == 0)
        push(r, call_self(r, operand, pop(r)));
    else if (strcmp(word, "env") == 0)
        give_text(r, getenv(operand));
    else if (strcmp(word, "later") == 0)
        promise_result(r, number);
    else if (strcmp(word, "count") == 0)
        count(operand);
    else if (strcmp(word, "print") == 0)
        fprintf(stderr, "%s\n", operand);
    else
        return false;
    return true;
}

static void interpret(run *r)
{
    char word[WORD], operand[WORD];
    while (next_word(r, word)) {
        if (do_special(word) || r->has_failed || do_simple(r, word))
            continue;
        if (!next_word(r, operand)) {
            fail(r, -2, "a word lacks its operand, or is unknown");
        } else if (strcmp(word, "fail") == 0) {
            char text[WORD];
            fail(r, atoi(operand), next_word(r, text) ? text : "");
        } else if (!do_with_operand(r, word, operand)) {
            fail(r, -2, "unknown word");
        }
    }
}

/* ---- one run ---- */

/* [code */
static char *code_of(const char *name)
{
    ray_view view;
    char *code;
    if (ray_kv_get(name, &view) != 0)
        return NULL;
    code = strndup(view.data, view.size);
    ray_view_release(&view);
    return code;
}
/* code] */

static void give_result(run *r)
{
    static _Thread_local char text[WORD];
    static char many[4 << 20];
    ray_view *out = r->frame->result.data;
    if (r->frame->result.kind != RAY_KIND_BYTES || (r->frame->function->flags & RAY_FUNCTION_STREAM) || r->is_later)
        return;
    if (r->num_bytes > 0 && r->num_bytes <= sizeof many)
        *out = ray_view_of(many, r->num_bytes);
    else if (r->has_text)
        *out = ray_view_of(memcpy(text, r->text, sizeof text), strlen(r->text));
    else
        *out = ray_view_of(
            text, (size_t)snprintf(text, sizeof text, "%lld", r->top > 0 ? (long long)r->stack[r->top - 1] : 0LL));
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text);
    return size >= strlen(end) && strcmp(text + size - strlen(end), end) == 0;
}

void toy_run(ray_frame *frame)
{
    run r = {.frame = frame};
    bool constructs = (frame->function->flags & RAY_FUNCTION_ACTOR) && frame->self && !*(toy_object **)frame->self;
    char *code = code_of(frame->name);
    atomic_fetch_add(&calls, 1);
    if (constructs)
        *(toy_object **)frame->self = calloc(1, sizeof(toy_object));
    if (code) {
        r.at = code;
        interpret(&r);
    } else if (!constructs && !ends_with(frame->name, ".fini")) {
        fail(&r, -3, "no such function");
    }
    if (ends_with(frame->name, ".fini"))
        free(*(toy_object **)frame->self);
    if (!r.has_failed)
        give_result(&r);
    free(code);
}
