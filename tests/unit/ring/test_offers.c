/* Claim words. */
#include "helper.h"

#include <pthread.h>
#include <signal.h>

enum { CANCEL = RAYI_OFFER_CANCEL, LATE = RAYI_OFFER_LATE, ABANDONED = RAYI_OFFER_ABANDONED };

Test(ring_offers, one_by_one)
{
    ends both = make_ends();
    const uint32_t slots[] = {0, 1, 15, 16, RAYI_OFFERS - 1};
    for (size_t i = 0; i < RAYI_COUNT_OF(slots); i++) {
        uint32_t slot = slots[i];
        cr_assert_eq(rayi_offer_look(both.node, slot), RAYI_OFFER_FREE);
        cr_assert_not(rayi_offer_take(both.worker, slot, 0));
        cr_assert_not(rayi_offer_revoke(both.node, slot));

        rayi_offer_make(both.node, slot, 0);
        cr_assert_eq(rayi_offer_look(both.worker, slot), RAYI_OFFER_MADE);
        rayi_offer_flag(both.node, slot, LATE);
        cr_assert(rayi_offer_take(both.worker, slot, 0));
        cr_assert_eq(rayi_offer_look(both.node, slot), RAYI_OFFER_TAKEN | LATE);
        cr_assert_not(rayi_offer_take(both.worker, slot, 0));
        cr_assert_not(rayi_offer_revoke(both.node, slot));
        rayi_offer_flag(both.node, slot, CANCEL);
        rayi_offer_flag(both.node, slot, ABANDONED | CANCEL);
        cr_assert_eq(rayi_offer_look(both.worker, slot), RAYI_OFFER_TAKEN | LATE | CANCEL | ABANDONED);

        rayi_offer_make(both.node, slot, 0);
        cr_assert_eq(rayi_offer_look(both.worker, slot), RAYI_OFFER_MADE, "flags are gone");
        rayi_offer_flag(both.node, slot, CANCEL);
        cr_assert(rayi_offer_revoke(both.node, slot));
        cr_assert_eq(rayi_offer_look(both.worker, slot), RAYI_OFFER_REVOKED | CANCEL);
        cr_assert_not(rayi_offer_take(both.worker, slot, 0));
        cr_assert_not(rayi_offer_revoke(both.node, slot));
    }
    for (uint32_t slot = 2; slot < 15; slot++)
        cr_assert_eq(rayi_offer_look(both.node, slot), RAYI_OFFER_FREE, "a neighbour");
    free_ends(&both);
}

Test(ring_offers, credit_only_grows)
{
    ends both = make_ends();
    for (uint32_t slot = 0; slot < RAYI_OFFERS; slot += RAYI_OFFERS - 1) {
        cr_assert_eq(rayi_offer_credit_of(both.worker, slot), 0);
        rayi_offer_credit(both.node, slot, 5);
        rayi_offer_credit(both.node, slot, 3);
        cr_assert_eq(rayi_offer_credit_of(both.worker, slot), 5);
        rayi_offer_credit(both.node, slot, UINT64_MAX);
        rayi_offer_credit(both.node, slot, 0);
        cr_assert_eq(rayi_offer_credit_of(both.node, slot), UINT64_MAX);
        rayi_offer_make(both.node, slot, 0);
        cr_assert_eq(rayi_offer_credit_of(both.worker, slot), 0);
    }
    cr_assert_eq(rayi_offer_credit_of(both.worker, 1), 0);
    free_ends(&both);
}

Test(ring_offers, make_out_of_range, .signal = SIGABRT)
{
    rayi_offer_make(make_ends().node, RAYI_OFFERS, 0);
}
Test(ring_offers, take_out_of_range, .signal = SIGABRT)
{
    rayi_offer_take(make_ends().worker, UINT32_MAX, 0);
}
Test(ring_offers, revoke_out_of_range, .signal = SIGABRT)
{
    rayi_offer_revoke(make_ends().node, RAYI_OFFERS);
}
Test(ring_offers, look_out_of_range, .signal = SIGABRT)
{
    rayi_offer_look(make_ends().node, RAYI_OFFERS);
}
Test(ring_offers, flag_out_of_range, .signal = SIGABRT)
{
    rayi_offer_flag(make_ends().node, RAYI_OFFERS, CANCEL);
}
Test(ring_offers, credit_out_of_range, .signal = SIGABRT)
{
    rayi_offer_credit(make_ends().node, RAYI_OFFERS, 1);
}
Test(ring_offers, credit_of_out_of_range, .signal = SIGABRT)
{
    rayi_offer_credit_of(make_ends().node, RAYI_OFFERS);
}
Test(ring_offers, a_flag_that_is_a_state, .signal = SIGABRT)
{
    rayi_offer_flag(make_ends().node, 0, RAYI_OFFER_TAKEN);
}

/* ---- two at once ---- */

#define ROUNDS (IS_SLOW ? 50 : 300)

static void *run_flagger(void *arg)
{
    static const unsigned flags[] = {CANCEL, LATE, ABANDONED};
    for (uint32_t slot = 0; slot < RAYI_OFFERS; slot++)
        for (int i = 0; i < 3; i++)
            rayi_offer_flag(arg, slot, flags[i]);
    return NULL;
}

/* The word changes under the compare-and-swap, but what it says of the task does not. */
Test(ring_offers, flags_stop_nobody)
{
    ends both = make_ends();
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t thread;
        for (uint32_t slot = 0; slot < RAYI_OFFERS; slot++)
            rayi_offer_make(both.node, slot, 0);
        cr_assert_eq(pthread_create(&thread, NULL, run_flagger, both.node), 0);
        for (uint32_t slot = 0; slot < RAYI_OFFERS; slot++) {
            while (!(rayi_offer_look(both.worker, slot) & CANCEL)) /* on the heels of the other */
                ;
            cr_assert(slot % 2 ? rayi_offer_take(both.worker, slot, 0) : rayi_offer_revoke(both.node, slot));
        }
        pthread_join(thread, NULL);
        for (uint32_t slot = 0; slot < RAYI_OFFERS; slot++)
            cr_assert_eq(rayi_offer_look(both.node, slot) & ~(unsigned)RAYI_OFFER_STATE, CANCEL | LATE | ABANDONED);
    }
    free_ends(&both);
}

typedef struct racer {
    rayi_channel *channel;
    bool takes;
    uint64_t random;
    pthread_barrier_t *barrier;
    unsigned char won[RAYI_OFFERS];
    pthread_t thread;
} racer;

static void race(racer *self)
{
    uint64_t start = next_random(&self->random) % 64; /* meets the other elsewhere in each round */
    for (uint32_t i = 0; i < RAYI_OFFERS; i++) {
        uint32_t slot = (uint32_t)(i + start) % RAYI_OFFERS;
        self->won[slot] =
            self->takes ? rayi_offer_take(self->channel, slot, 0) : rayi_offer_revoke(self->channel, slot);
    }
}

static void *run_racer(void *arg)
{
    racer *self = arg;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(self->barrier);
        race(self);
        pthread_barrier_wait(self->barrier);
    }
    return NULL;
}

Test(ring_offers, each_goes_to_exactly_one)
{
    ends both = make_ends();
    static racer racers[3];
    pthread_barrier_t barrier;
    long taken = 0, revoked = 0;
    pthread_barrier_init(&barrier, NULL, 4);
    for (uint64_t i = 0; i < 3; i++) { /* two threads of the worker, one of the node; this one flags */
        racers[i].channel = i < 2 ? both.worker : both.node;
        racers[i].takes = i < 2;
        racers[i].random = i;
        racers[i].barrier = &barrier;
        cr_assert_eq(pthread_create(&racers[i].thread, NULL, run_racer, &racers[i]), 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (uint32_t slot = 0; slot < RAYI_OFFERS; slot++)
            rayi_offer_make(both.node, slot, 0);
        pthread_barrier_wait(&barrier);
        for (uint32_t slot = 0; slot < RAYI_OFFERS; slot++) {
            rayi_offer_flag(both.node, slot, CANCEL);
            rayi_offer_flag(both.node, slot, LATE);
            rayi_offer_credit(both.node, slot, slot + 1);
        }
        pthread_barrier_wait(&barrier);
        for (uint32_t slot = 0; slot < RAYI_OFFERS; slot++) {
            bool took = racers[0].won[slot] || racers[1].won[slot];
            cr_assert_eq(racers[0].won[slot] + racers[1].won[slot] + racers[2].won[slot], 1, "slot %u", slot);
            cr_assert_eq(rayi_offer_look(both.node, slot),
                         (unsigned)((took ? RAYI_OFFER_TAKEN : RAYI_OFFER_REVOKED) | CANCEL | LATE));
            cr_assert_eq(rayi_offer_credit_of(both.worker, slot), slot + 1);
            taken += took;
            revoked += !took;
        }
    }
    for (int i = 0; i < 3; i++)
        pthread_join(racers[i].thread, NULL);
    cr_log_info("%ld taken, %ld revoked", taken, revoked);
    cr_assert(taken > 0 && revoked > 0, "both sides win sometimes");
    pthread_barrier_destroy(&barrier);
    free_ends(&both);
}
