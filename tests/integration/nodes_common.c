#include "nodes_common.h"

#include "json.h"

#include <stdlib.h>
#include <unistd.h>

nodes_page *page(void)
{
    return check_shared();
}

RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
RAY_REMOTE(int64_t, own_pid)
{
    return getpid();
}
RAY_REMOTE(const char *, own_node)
{
    return ray_context_get()->node_id;
}
RAY_REMOTE(int64_t, count_run, (int64_t, nth))
{
    atomic_fetch_add(&page()->runs[nth], 1);
    return nth;
}
RAY_REMOTE(int64_t, pass_gate, (int64_t, nth))
{
    atomic_store(&page()->pid, getpid());
    atomic_fetch_add(&page()->started, 1);
    CHECK_AWAIT(page()->gate, (int)nth);
    return nth;
}
RAY_REMOTE(int64_t, go_on, (int64_t, nth))
{
    atomic_store(&page()->pid, getpid());
    atomic_fetch_add(&page()->started, 1);
    while (!ray_cancelled())
        check_sleep_ms(1);
    atomic_fetch_add(&page()->stopped, 1);
    return nth;
}

void submit_counted(ray_waitset *set, int64_t first, int64_t count)
{
    for (int64_t i = first; i < first + count; i++) {
        ray_ref *ref = ray_remote(count_run, i);
        CHECK_OK(ray_waitset_add(set, ref, (void *)(uintptr_t)i));
        ray_release(ref);
    }
}

void collect(ray_waitset *set, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        void *tag;
        int64_t got = -1;
        ray_ref *ref = ray_waitset_next(set, (int64_t)30000 * check_slowness(), &tag);
        CHECK(ref);
        CHECK_OK(ray_get(ref, &got));
        CHECK_INT(got, (int64_t)(uintptr_t)tag);
        ray_release(ref);
    }
    CHECK(!ray_waitset_next(set, 0, NULL)); /* and not one more */
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_FOUND);
}

bool state_has(const char *query, const char *part)
{
    ray_view view;
    CHECK_OK(ray_state(query, &view));
    CHECK(json_is_valid(view.data, view.size));
    bool has = strstr(view.data, part) != NULL;
    ray_view_release(&view);
    return has;
}

void await_state(const char *query, const char *part)
{
    ray_view view = {0};
    for (int64_t end = check_now_ms() + (int64_t)20000 * check_slowness(); !state_has(query, part);
         check_sleep_ms(20)) {
        if (check_now_ms() < end)
            continue;
        CHECK_OK(ray_state(query, &view));
        fprintf(stderr, "%s lacks %s: %.*s\n", query, part, (int)view.size, (const char *)view.data);
        CHECK(!"in time");
    }
}

size_t count_in(const char *query, const char *part)
{
    ray_view view;
    size_t count = 0;
    CHECK_OK(ray_state(query, &view));
    for (const char *at = view.data; (at = strstr(at, part)); at++)
        count++;
    ray_view_release(&view);
    return count;
}

void await_count(const char *query, const char *part, size_t count)
{
    int64_t end = check_now_ms() + (int64_t)20000 * check_slowness();
    size_t is;
    while ((is = count_in(query, part)) != count && check_now_ms() < end)
        check_sleep_ms(20);
    CHECK_INT(is, count);
}
