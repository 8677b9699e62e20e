#include "transport/inside.h"

#include <sodium.h>

int rayi_hash(const void *bytes, size_t size_bytes, char out[RAYI_HASH_TEXT_SIZE])
{
    unsigned char hash[(RAYI_HASH_TEXT_SIZE - 1) / 2];
    int r = rayi_sodium_start();

    if (r < 0)
        return r;
    (void)crypto_generichash(hash, sizeof hash, bytes, size_bytes, NULL, 0);
    rayi_hex(out, hash, sizeof hash);
    return 0;
}
