/* Terms: what tasks and actors ask for in the same words, read once. A program that submits many tasks says the same
 * for all of them, mostly, and reading it would be the dearest part of each. The last terms are kept in a table, each
 * where the hash of its words puts it, so a lookup is one comparison under a lock that nobody holds for long. They
 * live as long as the table or a wish counts them, which may be longer than the node. */
#include "raylet/inside.h"

#include <stdio.h>
#include <string.h>

struct rayi_terms {
    atomic_uint refs;
    const rayi_resources *otherwise;
    rayi_resources *resources;
    char text[];
};

static bool is_it(const rayi_terms *terms, const char *text, const rayi_resources *otherwise)
{
    return terms && terms->otherwise == otherwise && strcmp(terms->text, text) == 0;
}

static int make(const char *text, const rayi_resources *otherwise, rayi_terms **out, char *why, size_t why_size)
{
    size_t size = strlen(text) + 1;
    rayi_terms *terms = rayi_alloc(sizeof *terms + size);
    int r;

    if (!terms) {
        snprintf(why, why_size, "out of memory");
        return RAY_ERR_NO_MEMORY;
    }
    r = rayi_resources_parse(rayi_heap, text, otherwise, &terms->resources, why, why_size);
    if (r < 0) {
        rayi_free(terms);
        return r;
    }
    atomic_init(&terms->refs, 2); /* the caller's, and the table's */
    terms->otherwise = otherwise;
    memcpy(terms->text, text, size);
    *out = terms;
    return 0;
}

int rayi_terms_get(rayi_known_terms *known, const char *text, const rayi_resources *otherwise, rayi_terms **out,
                   char *why, size_t why_size)
{
    const char *words = text ? text : "";
    rayi_terms **slot = &known->slot[rayi_hash_of(words, strlen(words)) % RAYI_COUNT_OF(known->slot)];
    rayi_terms *found = NULL, *before;
    int r;

    pthread_mutex_lock(&known->lock);
    if (is_it(*slot, words, otherwise)) {
        found = *slot;
        atomic_fetch_add_explicit(&found->refs, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&known->lock);
    if (!found) {
        r = make(words, otherwise, &found, why, why_size);
        if (r < 0)
            return r;
        pthread_mutex_lock(&known->lock);
        before = *slot;
        *slot = found;
        pthread_mutex_unlock(&known->lock);
        rayi_terms_unref(before);
    }
    *out = found;
    return 0;
}

const rayi_resources *rayi_terms_resources(const rayi_terms *terms)
{
    return terms->resources;
}

void rayi_terms_unref(rayi_terms *terms)
{
    if (!terms || atomic_fetch_sub_explicit(&terms->refs, 1, memory_order_acq_rel) > 1)
        return;
    rayi_resources_free(rayi_heap, terms->resources);
    rayi_free(terms);
}

void rayi_known_terms_init(rayi_known_terms *known)
{
    pthread_mutex_init(&known->lock, NULL);
}

void rayi_known_terms_fini(rayi_known_terms *known)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(known->slot); i++)
        rayi_terms_unref(known->slot[i]);
    pthread_mutex_destroy(&known->lock);
}
