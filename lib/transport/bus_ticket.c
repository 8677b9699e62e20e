/* Secrets of a bus, and the tickets in which nodes get them. */
#include "transport/bus.h"
#include "transport/inside.h"

#include <sodium.h>
#include <string.h>

enum { FORM = 1 };

int rayi_bus_secret_make(uint32_t epoch, rayi_bus_secret *out)
{
    int r = rayi_sodium_start();
    RAYI_ASSERT(epoch > 0);
    if (r < 0)
        return r;
    out->epoch = epoch;
    randombytes_buf(out->bytes, sizeof out->bytes);
    return 0;
}

void rayi_bus_secret_wipe(rayi_bus_secret *secret)
{
    sodium_memzero(secret, sizeof *secret);
}

void rayi_bus_ticket_wipe(rayi_bus_ticket *ticket)
{
    sodium_memzero(ticket, sizeof *ticket);
}

void rayi_bus_ticket_put(rayi_writer *writer, const rayi_bus_ticket *ticket)
{
    rayi_put_u8(writer, FORM);
    rayi_put_text(writer, ticket->publish);
    rayi_put_text(writer, ticket->survey);
    rayi_put_u64(writer, ticket->generation);
    rayi_put_u64(writer, ticket->published);
    rayi_put_u64(writer, ticket->surveyed);
    rayi_put_u32(writer, ticket->secret.epoch);
    rayi_put_bytes(writer, ticket->secret.bytes, sizeof ticket->secret.bytes);
    rayi_put_bytes(writer, ticket->signer, sizeof ticket->signer);
}

static bool take_address(rayi_reader *reader, char out[RAYI_BUS_ADDRESS_SIZE])
{
    const char *text = rayi_take_text(reader);
    if (!text || strlen(text) >= RAYI_BUS_ADDRESS_SIZE)
        return false;
    strcpy(out, text);
    return true;
}

static bool take(rayi_reader *reader, rayi_bus_ticket *out)
{
    bool sound =
        rayi_take_u8(reader) == FORM && take_address(reader, out->publish) && take_address(reader, out->survey);
    out->generation = rayi_take_u64(reader);
    out->published = rayi_take_u64(reader);
    out->surveyed = rayi_take_u64(reader);
    out->secret.epoch = rayi_take_u32(reader);
    const void *secret = rayi_take_bytes(reader, sizeof out->secret.bytes);
    const void *signer = rayi_take_bytes(reader, sizeof out->signer);
    if (!sound || reader->failed)
        return false;
    memcpy(out->secret.bytes, secret, sizeof out->secret.bytes);
    memcpy(out->signer, signer, sizeof out->signer);
    bool plain = out->secret.epoch == 0;
    return sodium_is_zero(out->secret.bytes, sizeof out->secret.bytes) == (int)plain &&
           rayi_address_is_dialled(out->publish, plain) && rayi_address_is_dialled(out->survey, plain);
}

int rayi_bus_ticket_take(rayi_reader *reader, rayi_bus_ticket *out)
{
    rayi_bus_ticket ticket = {.secret = {0}};
    if (take(reader, &ticket)) {
        *out = ticket;
        rayi_bus_ticket_wipe(&ticket);
        return 0;
    }
    rayi_bus_ticket_wipe(&ticket);
    reader->failed = true;
    return rayi_fail(RAY_ERR_CORRUPT, "expected a ticket for the bus of a head, got something else");
}
