/* What the tests of the store share. */
#ifndef STORE_HELPER_H
#define STORE_HELPER_H

#include "store/store.h"

#include <criterion/criterion.h>

#define KIB                  ((size_t)1024)
#define MIB                  (1024 * KIB)
#define BYTES_OF(x)          ((unsigned char *)rayi_block_data(x))
#define CHECK_OK(x)          cr_assert_eq((x), 0, "%s: %s", #x, rayi_error_last_public()->message)
#define CHECK_FAILS(x, code) cr_assert_eq((x), (code), "%s", #x)

/* A sanitizer has pages of its own to touch, and takes its time. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#elif defined __has_feature
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED 0
#endif

/* Descriptors that are open and, of the store's among them, the bytes that their files really hold. */
typedef struct open_files {
    size_t count, of_store, kept_on_exec;
    uint64_t store_bytes;
} open_files;
open_files look_at_files(void);
size_t files_in(const char *path);
long faults(void); /* page faults of this process so far */

size_t page_bytes(void);
size_t charge_of(size_t size);
rayi_store *make_store(uint64_t capacity);
rayi_block *make_block(rayi_store *store, size_t size);
rayi_store_usage usage_of(rayi_store *store);
char *make_directory(char out[64]); /* a private one of its own; returns out */
rayi_store *make_spilling_store(uint64_t capacity, const char *directory);
rayi_block *make_sealed(rayi_store *store, size_t size, uint64_t tag); /* waits for room, without end */
void check_marks(rayi_block *block, uint64_t tag);                     /* of a sealed one: with a pin */

uint64_t next_random(uint64_t *state);
/* A mark for each (tag, offset), in every page and in the last byte: cheap, and enough to see blocks overlap. */
unsigned char mark_of(uint64_t tag, size_t offset);
void write_marks_to(void *bytes, size_t size, uint64_t tag);
void write_marks(rayi_block *block, uint64_t tag);
void mark_last(rayi_block *block, uint64_t tag); /* after a shrink: the last byte only */
bool has_marks(rayi_block *block, uint64_t tag);

/* A heap that counts what it has given out, and refuses once. */
typedef struct failing_heap {
    long live, until; /* until: the allocation that fails, counted down; 0: none */
} failing_heap;
rayi_memory memory_of(failing_heap *heap);

#endif
