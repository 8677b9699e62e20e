/* Frames: every field, and rubbish in it. */
#include <criterion/criterion.h>

#include "transport/frame.h"

static size_t read_with(size_t at, unsigned char byte, rayi_frame_kind kind, size_t size)
{
    unsigned char bytes[RAYI_HELLO_SIZE] = {0};
    rayi_session_frame f, made = {.kind = kind, .from = 1, .to = 1, .size = size - RAYI_FRAME_HEAD};
    made.number = kind < RAYI_FRAME_ACK;
    rayi_frame_write_head(bytes, &made);
    if (at < sizeof bytes)
        bytes[at] = byte;
    return rayi_frame_read(bytes, size, &f) ? 0 : RAYI_FRAME_HEAD + f.size;
}

Test(frame, every_field_is_checked)
{
    enum { HEAD = RAYI_FRAME_HEAD, NOWHERE = 1000 };
    cr_expect_eq(read_with(NOWHERE, 0, RAYI_FRAME_ACK, HEAD), HEAD);
    cr_expect_eq(read_with(NOWHERE, 0, RAYI_FRAME_MESSAGE, HEAD + 3), HEAD + 3);
    cr_expect_eq(read_with(NOWHERE, 0, RAYI_FRAME_MESSAGE, HEAD), HEAD, "nothing is a message");
    cr_expect_eq(read_with(NOWHERE, 0, RAYI_FRAME_HELLO, RAYI_HELLO_SIZE), RAYI_HELLO_SIZE);
    const struct {
        size_t at;
        unsigned char byte;
        rayi_frame_kind kind;
        size_t size;
        const char *why;
    } bad[] = {
        {0, 1, RAYI_FRAME_ACK, HEAD, "size"},
        {0, 4, RAYI_FRAME_MESSAGE, HEAD + 3, "size"},
        {0, 2, RAYI_FRAME_MESSAGE, HEAD + 3, "size"},
        {3, 4, RAYI_FRAME_MESSAGE, HEAD + 3, "size"},
        {0, 31, RAYI_FRAME_HELLO, RAYI_HELLO_SIZE, "size"},
        {4, 0, RAYI_FRAME_ACK, HEAD, "kind"},
        {4, 6, RAYI_FRAME_ACK, HEAD, "kind"},
        {4, RAYI_FRAME_MESSAGE, RAYI_FRAME_ACK, HEAD, "a message without a number"},
        {5, 0, RAYI_FRAME_ACK, HEAD, "version"},
        {5, 2, RAYI_FRAME_ACK, HEAD, "version"},
        {6, 1, RAYI_FRAME_ACK, HEAD, "zero"},
        {7, 1, RAYI_FRAME_ACK, HEAD, "zero"},
        {8, 0, RAYI_FRAME_ACK, HEAD, "from"},
        {15, 128, RAYI_FRAME_ACK, HEAD, "from"},
        {16, 0, RAYI_FRAME_ACK, HEAD, "to"},
        {23, 128, RAYI_FRAME_ACK, HEAD, "to"},
        {24, 1, RAYI_FRAME_ACK, HEAD, "number"},
        {24, 0, RAYI_FRAME_MESSAGE, HEAD, "number"},
        {31, 128, RAYI_FRAME_MESSAGE, HEAD, "number"},
        {28, 1, RAYI_FRAME_HELLO, RAYI_HELLO_SIZE, "number"},
        {39, 128, RAYI_FRAME_ACK, HEAD, "received"},
        {47, 128, RAYI_FRAME_ACK, HEAD, "limit"},
    };
    for (size_t i = 0; i < RAYI_COUNT_OF(bad); i++)
        cr_expect_eq(read_with(bad[i].at, bad[i].byte, bad[i].kind, bad[i].size), 0, "%zu: %s", i, bad[i].why);
    rayi_session_frame f;
    cr_expect_eq(rayi_frame_read("", 0, &f), RAY_ERR_CORRUPT);
}

Test(frame, is_little_endian)
{
    unsigned char bytes[RAYI_FRAME_HEAD];
    const rayi_session_frame made = {.kind = RAYI_FRAME_REQUEST,
                                     .from = 0x0102030405060708,
                                     .to = 2,
                                     .number = 0x1112131415161718,
                                     .received = 4,
                                     .limit = 5,
                                     .size = 0x00ABCDEF};
    const unsigned char want[RAYI_FRAME_HEAD] = {
        0xEF, 0xCD, 0xAB, 0,    2,    1,    0,    0,    8, 7, 6, 5, 4, 3, 2, 1, 2, 0, 0, 0, 0, 0, 0, 0,
        0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0};
    rayi_frame_write_head(bytes, &made);
    cr_assert_arr_eq(bytes, want, sizeof want);
    cr_expect_eq(rayi_frame_size(bytes), RAYI_FRAME_HEAD + made.size);
}
