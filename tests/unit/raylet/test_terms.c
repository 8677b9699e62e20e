/* Terms: those of the same words are one, live as long as somebody counts them, and are read by any thread. */
#include "raylet/inside.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { TEXTS = 40, THREADS = 4, TURNS = 4000 };

static rayi_terms *get(rayi_known_terms *known, const char *text, const rayi_resources *otherwise)
{
    char why[256];
    rayi_terms *terms = NULL;
    cr_assert_eq(rayi_terms_get(known, text, otherwise, &terms, why, sizeof why), 0, "%s", why);
    return terms;
}

static const char *words(const rayi_terms *terms)
{
    return rayi_terms_resources(terms)->text;
}

Test(terms, of_the_same_words_are_one)
{
    rayi_known_terms known = {0};
    rayi_known_terms_init(&known);
    rayi_terms *a = get(&known, "GPU=1", &rayi_resources_one_cpu), *b = get(&known, "GPU=1", &rayi_resources_one_cpu);
    rayi_terms *alone = get(&known, "GPU=1", NULL), *none = get(&known, NULL, &rayi_resources_one_cpu);
    cr_expect_eq(a, b);
    cr_expect_str_eq(words(a), "CPU=1, GPU=1");
    cr_expect_str_eq(words(alone), "GPU=1");
    cr_expect_str_eq(words(none), "CPU=1");
    rayi_known_terms_fini(&known); /* who counts them still has them */
    cr_expect_str_eq(words(b), "CPU=1, GPU=1");
    rayi_terms_unref(a);
    rayi_terms_unref(b);
    rayi_terms_unref(alone);
    rayi_terms_unref(none);
}

Test(terms, that_cannot_be_read_say_why)
{
    rayi_known_terms known = {0};
    rayi_terms *terms = NULL;
    char why[256] = "";
    rayi_known_terms_init(&known);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(rayi_terms_get(&known, "GPU=some", NULL, &terms, why, sizeof why), RAY_ERR_ARGUMENT);
        cr_expect(strstr(why, "a number"), "%s", why);
        cr_expect_null(terms);
    }
    rayi_known_terms_fini(&known);
}

/* Others make way in the table for those that have its place now. NULL: all was as it must be. */
static void *get_all(void *arg)
{
    char text[32], why[256];
    for (int i = 0; i < TURNS; i++) {
        rayi_terms *terms;
        snprintf(text, sizeof text, "slot=%d", 1 + i % TEXTS);
        if (rayi_terms_get(arg, text, NULL, &terms, why, sizeof why) != 0 || strcmp(words(terms), text) != 0)
            return arg;
        rayi_terms_unref(terms);
    }
    return NULL;
}

Test(terms, are_for_any_thread, .timeout = 60)
{
    static rayi_known_terms known;
    pthread_t threads[THREADS];
    rayi_known_terms_init(&known);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, get_all, &known), 0);
    for (int i = 0; i < THREADS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        cr_expect_null(wrong);
    }
    rayi_known_terms_fini(&known);
}

/* ---- out of memory ---- */

static long blocks, left;

static void *scarce_alloc(void *arg, size_t size)
{
    (void)arg;
    if (left-- <= 0)
        return NULL;
    blocks++;
    return malloc(size);
}

static void *scarce_realloc(void *arg, void *block, size_t size)
{
    (void)arg, (void)block, (void)size;
    return NULL;
}

static void scarce_free(void *arg, void *block)
{
    (void)arg;
    blocks--;
    free(block);
}

Test(terms, without_memory_there_are_none)
{
    static const ray_allocator scarce = {sizeof scarce, NULL, scarce_alloc, scarce_realloc, scarce_free};
    rayi_known_terms known = {0};
    rayi_terms *terms = NULL;
    char why[256];
    int r = RAY_ERR_NO_MEMORY;
    cr_assert_eq(ray_set_allocator(&scarce), 0);
    rayi_known_terms_init(&known);
    for (long most = 0; r == RAY_ERR_NO_MEMORY; most++) {
        left = most;
        r = rayi_terms_get(&known, "GPU=1", NULL, &terms, why, sizeof why);
        cr_assert(r == 0 || r == RAY_ERR_NO_MEMORY);
        cr_expect(r == 0 || blocks == 0);
        cr_assert_lt(most, 10);
    }
    rayi_known_terms_fini(&known);
    rayi_terms_unref(terms);
    cr_expect_eq(blocks, 0);
}
