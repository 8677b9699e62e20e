/* spill: bytes in files. It knows nothing of blocks, room or the store's lock: whoever calls it keeps the bytes where
 * they are meanwhile. A file takes the bytes of many blocks one behind the other and is removed with the last of them.
 */
#ifndef RAYI_SPILL_H
#define RAYI_SPILL_H

#include "base/base.h"

typedef struct rayi_spill rayi_spill;
typedef struct rayi_spill_file rayi_spill_file;

/* Where bytes lie, and what they are. */
typedef struct rayi_spilled {
    rayi_spill_file *file; /* NULL: nowhere */
    uint64_t offset, checksum;
} rayi_spilled;

typedef int (*rayi_spill_ask)(void *arg, char *out, size_t size);

/* Makes the directory known, or whom to ask for it when bytes are first written. NO_MEMORY. */
int rayi_spill_new(const rayi_memory *memory, const char *directory, rayi_spill_ask ask, void *arg, rayi_spill **out);
/* Removes all files. What is under way fails or ends; nothing new may begin. NULL: nothing happens. */
void rayi_spill_close(rayi_spill *spill);
void rayi_spill_free(rayi_spill *spill); /* after close, when nothing is under way and no file has bytes */

/* Bytes to write; those up to the next multiple of 4 KiB can be read, too. */
typedef struct rayi_spill_part {
    const void *data;
    size_t size_bytes;
} rayi_spill_part;
/* Writes the first of the parts, one at least, into one file; how many is in *written, also when it fails: DISK_FULL
 * with words: the next could not be written, whatever the reason; NO_MEMORY; SHUTDOWN after close; what the asked one
 * said. */
int rayi_spill_write(rayi_spill *spill, const rayi_spill_part *parts, size_t count, rayi_spilled *out, size_t *written);
/* 0; CORRUPT, SYSTEM with words; SHUTDOWN after close. */
int rayi_spill_read(rayi_spill *spill, const rayi_spilled *from, void *to, size_t size_bytes);
/* They are no longer wanted. Their room on the disk is given back at once where the file system can do that. */
void rayi_spill_drop(rayi_spill *spill, const rayi_spilled *gone, size_t size_bytes);

#endif
