/* What the links of a loop share: keys, the buffer that all read into (what is read is used up before anybody else
 * reads), free chunks, and the list of those that have something to send.
 *
 * Sending waits for the idle phase of the loop: it comes after all callbacks of one round of events, and before the
 * loop sleeps (an active idle handle lets it not), so what a round causes goes out in one system call a link. */
#include "transport/inside.h"

#include <sodium.h>
#include <string.h>

enum { MESSAGE_BYTES = 16 << 20, DRAIN_BYTES = 1 << 20, HELLO_MS = 5000, MAX_STRANGERS = 64, REKEY_MS = 120000 };

static int check_keys(const rayi_key *keys, size_t num_keys)
{
    if (num_keys > RAYI_MAX_KEYS || (num_keys > 0 && !keys))
        return rayi_fail(RAY_ERR_ARGUMENT, "expected at most %d cluster keys, got %zu", RAYI_MAX_KEYS, num_keys);
    return 0;
}

static void set_keys(rayi_keyring *ring, const rayi_key *keys, size_t num_keys)
{
    sodium_memzero(ring, sizeof *ring);
    ring->num_keys = num_keys;
    for (size_t i = 0; i < num_keys; i++)
        ring->keys[i] = keys[i];
}

static rayi_transport_options with_defaults(const rayi_transport_options *options)
{
    rayi_transport_options all = options ? *options : (rayi_transport_options){0};
    all.message_bytes = all.message_bytes ? all.message_bytes : MESSAGE_BYTES;
    all.drain_bytes = all.drain_bytes ? all.drain_bytes : DRAIN_BYTES;
    all.hello_ms = all.hello_ms ? all.hello_ms : HELLO_MS;
    all.max_strangers = all.max_strangers ? all.max_strangers : MAX_STRANGERS;
    all.rekey_ms = all.rekey_ms ? all.rekey_ms : REKEY_MS;
    all.rekey_records = all.rekey_records ? all.rekey_records : (uint64_t)1 << 32;
    return all;
}

int rayi_transport_open(uv_loop_t *loop, const rayi_transport_options *options, rayi_transport **out)
{
    rayi_transport_options all = with_defaults(options);
    int r = check_keys(all.keys, all.num_keys);
    if (r == 0)
        r = rayi_sodium_start();
    if (r < 0)
        return r;
    rayi_transport *transport = rayi_zalloc(sizeof *transport);
    if (!transport)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a transport");
    transport->loop = loop;
    transport->users = 1;
    set_keys(&transport->ring, all.keys, all.num_keys);
    if (all.identity)
        rayi_key_pair_from(&transport->identity, all.identity);
    else
        rayi_key_pair_make(&transport->identity);
    all.keys = NULL;
    all.identity = NULL;
    transport->options = all;
    uv_idle_init(loop, &transport->idle);
    transport->idle.data = transport;
    *out = transport;
    return 0;
}

int rayi_transport_set_keys(rayi_transport *transport, const rayi_key *keys, size_t num_keys)
{
    int r = check_keys(keys, num_keys);
    if (r == 0 && (num_keys == 0 || transport->ring.num_keys == 0))
        r = rayi_fail(RAY_ERR_ARGUMENT, "who runs with a cluster key stays with one, and who runs without, without");
    if (r == 0)
        set_keys(&transport->ring, keys, num_keys);
    return r;
}

const uint8_t *rayi_transport_identity(const rayi_transport *transport)
{
    return transport->identity.shown;
}

void rayi_transport_unuse(rayi_transport *transport)
{
    void (*closed)(void *arg) = transport->closed;
    void *arg = transport->closed_arg;
    if (--transport->users > 0)
        return;
    rayi_chunks_fini(&transport->chunks);
    rayi_free(transport->buffer);
    sodium_memzero(transport, sizeof *transport);
    rayi_free(transport);
    if (closed)
        closed(arg);
}

static void on_idle_closed(uv_handle_t *handle)
{
    rayi_transport_unuse(handle->data);
}

void rayi_transport_close(rayi_transport *transport, void (*closed)(void *arg), void *arg)
{
    RAYI_ASSERT(!transport->closing);
    transport->closing = true;
    transport->closed = closed;
    transport->closed_arg = arg;
    while (transport->listeners)
        rayi_listener_close(transport->listeners);
    while (transport->links)
        rayi_link_close(transport->links);
    uv_close((uv_handle_t *)&transport->idle, on_idle_closed);
}
