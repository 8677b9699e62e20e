#include "transport/frame.h"

#include <string.h>

enum { VERSION = 1, AT_SIZE = 0, AT_KIND = 4, AT_VERSION = 5, AT_ZERO = 6 };
enum { AT_FROM = 8, AT_TO = 16, AT_NUMBER = 24, AT_RECEIVED = 32, AT_LIMIT = 40 };

static uint64_t take(const unsigned char *at, int width)
{
    uint64_t number = 0;
    for (int i = 0; i < width; i++)
        number |= (uint64_t)at[i] << 8 * i;
    return number;
}

static void put(unsigned char *at, int width, uint64_t number)
{
    for (int i = 0; i < width; i++)
        at[i] = (unsigned char)(number >> 8 * i);
}

/* May a frame of this kind have such a payload and number? */
static bool fits_kind(uint64_t kind, uint64_t size, uint64_t number)
{
    if (kind < RAYI_FRAME_HELLO || kind > RAYI_FRAME_REFUSAL)
        return false;
    switch ((rayi_frame_kind)kind) {
    case RAYI_FRAME_HELLO:
        return size == 2 * RAYI_NODE_ID_SIZE && number >= 1 && number <= RAYI_DIAL_MAX;
    case RAYI_FRAME_REQUEST:
    case RAYI_FRAME_MESSAGE:
        return size <= RAYI_FRAME_SIZE_MAX && number >= 1 && number <= RAYI_NUMBER_MAX;
    case RAYI_FRAME_ACK:
    case RAYI_FRAME_REFUSAL:
        return size == 0 && number == 0;
    }
    return false;
}

static bool is_incarnation(uint64_t number)
{
    return number >= 1 && number <= RAYI_NUMBER_MAX;
}

size_t rayi_frame_size(const void *head)
{
    const unsigned char *at = head;
    uint64_t size = take(at + AT_SIZE, 4);
    if (at[AT_VERSION] != VERSION || take(at + AT_ZERO, 2) || !fits_kind(at[AT_KIND], size, take(at + AT_NUMBER, 8)))
        return 0;
    if (!is_incarnation(take(at + AT_FROM, 8)) || !is_incarnation(take(at + AT_TO, 8)))
        return 0;
    if (take(at + AT_RECEIVED, 8) > RAYI_NUMBER_MAX || take(at + AT_LIMIT, 8) > RAYI_NUMBER_MAX)
        return 0;
    return RAYI_FRAME_HEAD + (size_t)size;
}

int rayi_frame_read(const void *bytes, size_t size, rayi_session_frame *out)
{
    const unsigned char *at = bytes;
    if (size < RAYI_FRAME_HEAD || rayi_frame_size(bytes) != size)
        return RAY_ERR_CORRUPT;
    *out = (rayi_session_frame){.kind = (rayi_frame_kind)at[AT_KIND],
                                .from = take(at + AT_FROM, 8),
                                .to = take(at + AT_TO, 8),
                                .number = take(at + AT_NUMBER, 8),
                                .received = take(at + AT_RECEIVED, 8),
                                .limit = take(at + AT_LIMIT, 8),
                                .size = size - RAYI_FRAME_HEAD,
                                .payload = at + RAYI_FRAME_HEAD};
    return 0;
}

void rayi_frame_write_head(void *out, const rayi_session_frame *frame)
{
    unsigned char *at = out;
    RAYI_ASSERT(frame->size <= RAYI_FRAME_SIZE_MAX);
    put(at + AT_SIZE, 4, frame->size);
    at[AT_KIND] = (unsigned char)frame->kind;
    at[AT_VERSION] = VERSION;
    put(at + AT_ZERO, 2, 0);
    put(at + AT_FROM, 8, frame->from);
    put(at + AT_TO, 8, frame->to);
    put(at + AT_NUMBER, 8, frame->number);
    put(at + AT_RECEIVED, 8, frame->received);
    put(at + AT_LIMIT, 8, frame->limit);
}

void rayi_frame_write_refusal(void *out, uint64_t from, uint64_t to)
{
    rayi_frame_write_head(out, &(rayi_session_frame){.kind = RAYI_FRAME_REFUSAL, .from = from, .to = to});
}
