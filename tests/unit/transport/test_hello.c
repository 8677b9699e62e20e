/* The handshake, byte by byte, without sockets. */
#include "helper.h"

enum { MAX = 3 * RAYI_HELLO_MAX };

typedef struct tape { /* what one side has said */
    uint8_t bytes[MAX];
    size_t size;
} tape;

typedef struct speaker {
    rayi_keyring ring;
    rayi_key_pair own;
    rayi_hello hello;
    int r;
    tape said;
} speaker;

static void start(speaker *side, bool dials, const rayi_keyring *ring)
{
    uint8_t secret[32] = {dials, 1};
    *side = (struct speaker){.ring = *ring};
    rayi_key_pair_from(&side->own, secret);
    rayi_hello_start(&side->hello, dials, &side->ring, &side->own, dials ? 1000 : 2000);
}

static void say(speaker *side)
{
    memcpy(side->said.bytes + side->said.size, side->hello.out, side->hello.out_size);
    side->said.size += side->hello.out_size;
    side->hello.out_size = 0;
}

/* Hears bytes in pieces of at most `piece`. Returns how many it used. */
static size_t hear(speaker *side, const uint8_t *bytes, size_t size, size_t piece)
{
    size_t done = 0, used;
    while (done < size && side->r == 0) {
        size_t count = RAYI_MIN(piece, size - done);
        uint8_t *copy = malloc(count); /* a sanitizer sees a read beyond it */
        memcpy(copy, bytes + done, count);
        side->r = rayi_hello_feed(&side->hello, copy, count, &used);
        free(copy);
        cr_assert_leq(used, count);
        done += used;
        say(side);
    }
    return done;
}

static rayi_keyring ring_of(int first, int second)
{
    rayi_keyring ring = {.num_keys = first == 0 ? 0 : second == 0 ? 1 : 2};
    ring.keys[0] = key_of((uint8_t)first);
    ring.keys[1] = key_of((uint8_t)second);
    return ring;
}

/* A whole conversation. */
static void meet(speaker *dialer, speaker *listener, size_t piece)
{
    size_t heard_here = 0, heard_there = 0;
    say(dialer);
    for (int i = 0; i < 3; i++) {
        heard_there += hear(listener, dialer->said.bytes + heard_there, dialer->said.size - heard_there, piece);
        heard_here += hear(dialer, listener->said.bytes + heard_here, listener->said.size - heard_here, piece);
    }
}

static void check_met(speaker *dialer, speaker *listener)
{
    rayi_cipher here[2], there[2];
    cr_assert(dialer->r == 1 && listener->r == 1, "%s", rayi_error_last_public()->message);
    cr_assert(dialer->hello.peer_limit == 2000 && listener->hello.peer_limit == 1000);
    if (!dialer->hello.sealed)
        return;
    cr_assert_arr_eq(dialer->hello.noise.peer, listener->own.shown, 32);
    cr_assert_arr_eq(listener->hello.noise.peer, dialer->own.shown, 32);
    rayi_noise_split(&dialer->hello.noise, &here[0], &here[1]);
    rayi_noise_split(&listener->hello.noise, &there[0], &there[1]);
    cr_assert_arr_eq(here[0].key, there[1].key, 32);
    cr_assert_arr_eq(here[1].key, there[0].key, 32);
    cr_assert(memcmp(here[0].key, here[1].key, 32) != 0);
}

static void check_meet(const rayi_keyring *dials, const rayi_keyring *listens)
{
    static const size_t pieces[] = {1, 2, 3, 7, 16, 64, 1000};
    for (size_t i = 0; i < RAYI_COUNT_OF(pieces); i++) {
        speaker dialer, listener;
        start(&dialer, true, dials);
        start(&listener, false, listens);
        meet(&dialer, &listener, pieces[i]);
        check_met(&dialer, &listener);
    }
}

Test(hello, same_key)
{
    rayi_keyring ring = ring_of(1, 0);
    check_meet(&ring, &ring);
}

Test(hello, no_key)
{
    rayi_keyring ring = ring_of(0, 0);
    check_meet(&ring, &ring);
}

/* While the key is changed: first all accept both, then all dial with the new one, then the old one goes. */
Test(hello, change_of_keys)
{
    rayi_keyring old = ring_of(1, 0), both = ring_of(1, 2), turned = ring_of(2, 1), new = ring_of(2, 0);
    check_meet(&old, &both);
    check_meet(&both, &old);
    check_meet(&both, &turned);
    check_meet(&turned, &both);
    check_meet(&turned, &new);
    check_meet(&new, &turned);
}

/* Who is refused, and what both are told. */
static void check_refused(const rayi_keyring *dials, const rayi_keyring *listens, const char *there, const char *here)
{
    speaker dialer, listener;
    start(&dialer, true, dials);
    start(&listener, false, listens);
    say(&dialer);
    hear(&listener, dialer.said.bytes, dialer.said.size, 1000);
    cr_assert_eq(listener.r, RAY_ERR_AUTH);
    CHECK_WORDS(there);
    cr_assert_eq(listener.said.size, 8);
    hear(&dialer, listener.said.bytes, listener.said.size, 1000);
    cr_assert_eq(dialer.r, RAY_ERR_AUTH);
    CHECK_WORDS(here);
    cr_assert_eq(dialer.hello.out_size, 0);
}

Test(hello, other_key)
{
    rayi_keyring one = ring_of(1, 0), two = ring_of(2, 0), both = ring_of(3, 2), none = ring_of(0, 0);
    check_refused(&one, &two, "it has another cluster key", "it has another cluster key");
    check_refused(&one, &both, "it has another cluster key", "it has another cluster key");
    check_refused(&none, &two, "it has no cluster key", "it wants a cluster key");
    check_refused(&one, &none, "there is none here", "it runs without a cluster key");
    two.keys[0].id[0] = 1; /* it names the key that it does not have */
    check_refused(&two, &one, "does not have the cluster key that it names", "it has another cluster key");
}

Test(hello, other_version)
{
    rayi_keyring ring = ring_of(1, 0);
    speaker dialer, listener;
    start(&dialer, true, &ring);
    start(&listener, false, &ring);
    dialer.hello.out[4] = 9;
    say(&dialer);
    hear(&listener, dialer.said.bytes, dialer.said.size, 1);
    cr_assert_eq(listener.r, RAY_ERR_VERSION);
    CHECK_WORDS("it speaks version 9 of the protocol, expected 1");
    hear(&dialer, listener.said.bytes, listener.said.size, 1);
    cr_assert_eq(dialer.r, RAY_ERR_VERSION);
    start(&dialer, true, &ring);
    hear(&dialer, (const uint8_t *)"RAYL\x09\x00\x00\x00", 8, 8);
    cr_assert_eq(dialer.r, RAY_ERR_VERSION);
    start(&dialer, true, &ring);
    hear(&dialer, (const uint8_t *)"RAYL\x01\x00\x77\x00", 8, 8);
    cr_assert_eq(dialer.r, RAY_ERR_CORRUPT);
    start(&listener, false, &ring);
    hear(&listener, (const uint8_t *)"RAYL\x01\x00\x03\x00\x01\0\0\0\0\0\0\0", 16, 16);
    cr_assert_eq(listener.r, RAY_ERR_CORRUPT);
}

/* Refused at the first byte that is wrong, without an answer. */
Test(hello, other_protocols)
{
    static const char *const words[] = {"GET / HTTP/1.1\r\n", "\x16\x03\x01", "RAYX", "SSH-2.0", "rayl"};
    rayi_keyring ring = ring_of(1, 0);
    for (size_t i = 0; i < RAYI_COUNT_OF(words); i++) {
        speaker listener, dialer;
        start(&listener, false, &ring);
        size_t used = hear(&listener, (const uint8_t *)words[i], strlen(words[i]), 1);
        cr_assert_eq(listener.r, RAY_ERR_CORRUPT);
        cr_assert(used <= 4 && listener.said.size == 0);
        start(&dialer, true, &ring);
        hear(&dialer, (const uint8_t *)words[i], strlen(words[i]), 1000);
        cr_assert_eq(dialer.r, RAY_ERR_CORRUPT);
    }
}

/* What each side says in a handshake with known secrets. */
static void record(const rayi_keyring *ring, speaker *dialer, speaker *listener)
{
    start(dialer, true, ring);
    start(listener, false, ring);
    meet(dialer, listener, 1000);
    check_met(dialer, listener);
}

/* Every bit of what who dials says, changed on the way: the listener refuses it, or waits for more. */
Test(hello, bits_changed_towards_the_listener)
{
    rayi_keyring ring = ring_of(1, 0);
    for (size_t at = 0; at < 16 + 48 + 68; at++)
        for (int bit = 0; bit < 8; bit += at % 3 + 1) {
            speaker dialer, listener;
            size_t heard = 0, answered = 0;
            start(&dialer, true, &ring);
            start(&listener, false, &ring);
            say(&dialer);
            for (int i = 0; i < 2 && listener.r == 0; i++) {
                tape said = dialer.said;
                if (at < said.size)
                    said.bytes[at] ^= (uint8_t)(1 << bit);
                heard += hear(&listener, said.bytes + heard, said.size - heard, 1000);
                answered += hear(&dialer, listener.said.bytes + answered, listener.said.size - answered, 1000);
            }
            cr_assert_lt(listener.r, 0, "byte %zu, bit %d", at, bit);
            cr_assert(dialer.r < 0 || listener.said.size == 0 || at >= 64);
        }
}

Test(hello, bits_changed_towards_the_dialer)
{
    rayi_keyring ring = ring_of(1, 0);
    for (size_t at = 0; at < 8 + 100; at++)
        for (int bit = 0; bit < 8; bit += at % 3 + 1) {
            speaker dialer, listener;
            start(&dialer, true, &ring);
            start(&listener, false, &ring);
            say(&dialer);
            hear(&listener, dialer.said.bytes, dialer.said.size, 1000);
            listener.said.bytes[at] ^= (uint8_t)(1 << bit);
            hear(&dialer, listener.said.bytes, listener.said.size, 1000);
            cr_assert_lt(dialer.r, 0, "byte %zu, bit %d", at, bit);
        }
}

/* All that was said once, again: a listener that has a new secret does not take it. */
Test(hello, replayed)
{
    rayi_keyring ring = ring_of(1, 0);
    speaker dialer, listener, again;
    record(&ring, &dialer, &listener);
    start(&again, false, &ring);
    hear(&again, dialer.said.bytes, dialer.said.size, 1000);
    cr_assert_eq(again.r, RAY_ERR_AUTH);
    start(&again, true, &ring);
    say(&again);
    hear(&again, listener.said.bytes, listener.said.size, 1000);
    cr_assert_eq(again.r, RAY_ERR_AUTH);
}

/* One's own words, sent back. */
Test(hello, reflected)
{
    rayi_keyring ring = ring_of(1, 0);
    speaker dialer;
    start(&dialer, true, &ring);
    say(&dialer);
    hear(&dialer, dialer.said.bytes, dialer.said.size, 1000);
    cr_assert_lt(dialer.r, 0);
}

/* Half a handshake is none, at any length. */
Test(hello, truncated)
{
    rayi_keyring ring = ring_of(1, 0);
    speaker dialer, listener;
    record(&ring, &dialer, &listener);
    for (size_t size = 0; size < 64; size++) {
        speaker one;
        start(&one, false, &ring);
        cr_assert_eq(hear(&one, dialer.said.bytes, size, 5), size);
        cr_assert(one.r == 0 && one.said.size == 0);
    }
}

/* Bytes behind the handshake are not its. */
Test(hello, leaves_what_follows)
{
    rayi_keyring ring = ring_of(1, 0);
    speaker dialer, listener;
    tape said;
    start(&dialer, true, &ring);
    start(&listener, false, &ring);
    say(&dialer);
    hear(&listener, dialer.said.bytes, dialer.said.size, 1000);
    said = listener.said;
    said.bytes[said.size++] = 77;
    cr_assert_eq(hear(&dialer, said.bytes, said.size, 1000), said.size - 1);
    cr_assert_eq(dialer.r, 1);
}
