/* Offers: one word a slot says whose a task is that the node has sent down.
 *
 * Memory order. The state leaves MADE once, by a compare-and-swap of the worker (TAKEN) or of the node (REVOKED), so
 * exactly one of them has the task. Acquire-release: what the node did before it made the offer is seen by the one who
 * takes it, also where the message that tells of the slot went another way; what a taker did before is seen by the one
 * who finds it taken. Flags are or'ed in at any time and stay. A slot is made again only by the node: after the worker
 * has told it that it is done with the slot (a message, which orders the two), or after the node has revoked it. Then
 * the message of the first offer may still be under way; the generation in the word keeps its reader from taking the
 * second offer for it. (24 bits of it: 16 million offers later nobody still reads the message of the first.)
 *
 * The worker can write anything here at any time. All that it can reach is that the node takes its own task for taken,
 * or for not taken: the loops below are bounded, and slots are the node's to give. */
#include "ring/inside.h"

/* How often a word can change under an honest compare-and-swap: each flag once, and the state. */
#define HONEST_CHANGES 8

static _Atomic(uint32_t) *claim_of(const rayi_channel *channel, uint32_t slot)
{
    RAYI_ASSERT(slot < RAYI_OFFERS);
    return &channel->memory->claim[slot];
}

static _Atomic(uint64_t) *credit_word(const rayi_channel *channel, uint32_t slot)
{
    RAYI_ASSERT(slot < RAYI_OFFERS);
    return &channel->memory->credit[slot];
}

#define GENERATION(generation) ((uint32_t)(generation) << 8)

/* generation NULL: whichever it is. */
static bool leave_made(rayi_channel *channel, uint32_t slot, const uint32_t *generation, unsigned state)
{
    _Atomic(uint32_t) *claim = claim_of(channel, slot);
    uint32_t word = atomic_load_explicit(claim, memory_order_acquire);
    for (int i = 0; i < HONEST_CHANGES && (word & RAYI_OFFER_STATE) == RAYI_OFFER_MADE &&
                    (!generation || GENERATION(*generation) == (word & ~(uint32_t)0xff));
         i++)
        if (atomic_compare_exchange_strong_explicit(claim, &word, (word & ~(uint32_t)RAYI_OFFER_STATE) | state,
                                                    memory_order_acq_rel, memory_order_acquire))
            return true;
    return false;
}

void rayi_offer_make(rayi_channel *channel, uint32_t slot, uint32_t generation)
{
    atomic_store_explicit(credit_word(channel, slot), 0, memory_order_relaxed);
    atomic_store_explicit(claim_of(channel, slot), GENERATION(generation) | RAYI_OFFER_MADE, memory_order_release);
}

bool rayi_offer_take(rayi_channel *channel, uint32_t slot, uint32_t generation)
{
    return leave_made(channel, slot, &generation, RAYI_OFFER_TAKEN);
}

bool rayi_offer_revoke(rayi_channel *channel, uint32_t slot)
{
    return leave_made(channel, slot, NULL, RAYI_OFFER_REVOKED);
}

void rayi_offer_flag(rayi_channel *channel, uint32_t slot, unsigned flag)
{
    RAYI_ASSERT((flag & ~(unsigned)(RAYI_OFFER_CANCEL | RAYI_OFFER_LATE | RAYI_OFFER_ABANDONED)) == 0);
    atomic_fetch_or_explicit(claim_of(channel, slot), flag, memory_order_acq_rel);
}

unsigned rayi_offer_look(const rayi_channel *channel, uint32_t slot)
{
    return atomic_load_explicit(claim_of(channel, slot), memory_order_acquire) & 0xff;
}

void rayi_offer_credit(rayi_channel *channel, uint32_t slot, uint64_t items)
{
    _Atomic(uint64_t) *credit = credit_word(channel, slot);
    uint64_t before = atomic_load_explicit(credit, memory_order_relaxed);
    /* Honest threads of the node each come through after as many failures as there are threads that raise it further;
     * a worker that writes here itself cheats nobody, since the node counts the items that come. */
    for (int i = 0; i < 1000 && before < items; i++)
        if (atomic_compare_exchange_strong_explicit(credit, &before, items, memory_order_release, memory_order_relaxed))
            return;
}

uint64_t rayi_offer_credit_of(const rayi_channel *channel, uint32_t slot)
{
    return atomic_load_explicit(credit_word(channel, slot), memory_order_acquire);
}
