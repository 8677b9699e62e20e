#include "gcs/roster.h"

/* ---- writing ---- */

static void put_join(rayi_writer *writer, const rayi_member_join *join)
{
    rayi_put_u32(writer, join->protocol);
    rayi_put_bytes(writer, &join->cluster, sizeof join->cluster);
    rayi_put_u64(writer, join->generation);
    rayi_put_i64(writer, join->asked_ms);
    rayi_member_put(writer, &join->node);
}

static void put_tell(rayi_writer *writer, const rayi_member_tell *tell)
{
    rayi_put_u64(writer, tell->incarnation);
    rayi_put_u32(writer, tell->load);
    rayi_put_u32(writer, tell->count);
    rayi_put_bytes(writer, tell->available, tell->count * sizeof *tell->available);
}

static void put_answer(rayi_writer *writer, const rayi_member_answer *answer)
{
    rayi_put_u8(writer, (uint8_t)answer->verdict);
    rayi_put_u8(writer, (uint8_t)answer->refusal);
    rayi_put_u8(writer, (uint8_t)answer->flags);
    rayi_put_bytes(writer, &answer->cluster, sizeof answer->cluster);
    rayi_put_u64(writer, answer->generation);
    rayi_put_u64(writer, answer->life);
    rayi_put_u64(writer, answer->incarnation);
    rayi_put_i64(writer, answer->asked_ms);
    rayi_put_u64(writer, answer->version);
    rayi_put_u32(writer, answer->nodes);
}

static void put_death(rayi_writer *writer, const rayi_member_death *death)
{
    rayi_put_bytes(writer, &death->id, sizeof death->id);
    rayi_put_u64(writer, death->incarnation);
    rayi_put_u8(writer, (uint8_t)death->cause);
}

void rayi_member_message_put(rayi_writer *writer, const rayi_member_message *message)
{
    rayi_put_u8(writer, (uint8_t)message->what);
    switch (message->what) {
    case RAYI_MEMBER_JOIN:
        put_join(writer, &message->as.join);
        return;
    case RAYI_MEMBER_RENEW:
        rayi_put_u64(writer, message->as.renew.incarnation);
        rayi_put_i64(writer, message->as.renew.asked_ms);
        return;
    case RAYI_MEMBER_TELL:
        put_tell(writer, &message->as.tell);
        return;
    case RAYI_MEMBER_BEAT:
    case RAYI_MEMBER_LEAVE:
        rayi_put_u64(writer, message->as.incarnation);
        return;
    case RAYI_MEMBER_PULL:
        rayi_put_u64(writer, message->as.since);
        return;
    case RAYI_MEMBER_ANSWER:
        put_answer(writer, &message->as.answer);
        return;
    case RAYI_MEMBER_DEATH:
        put_death(writer, &message->as.death);
        return;
    case RAYI_MEMBER_END:
        rayi_put_u64(writer, message->as.generation);
        return;
    case RAYI_MEMBER_TABLE:
        break;
    }
    RAYI_ASSERT(!"a table is not written by message");
}

/* ---- taking ---- */

static void take_into(rayi_reader *reader, void *out, size_t size)
{
    const void *bytes = rayi_take_bytes(reader, size);
    if (bytes)
        memcpy(out, bytes, size);
}

static void take_join(rayi_reader *reader, rayi_member_message *out)
{
    rayi_member_join *join = &out->as.join;
    join->protocol = rayi_take_u32(reader);
    if (join->protocol != RAYI_MEMBERS_PROTOCOL) { /* whatever it may say: it is refused for that */
        reader->at = reader->end;
        return;
    }
    take_into(reader, &join->cluster, sizeof join->cluster);
    join->generation = rayi_take_u64(reader);
    join->asked_ms = rayi_take_i64(reader);
    rayi_member_take(reader, out->room, &join->node);
    if (join->node.state != RAYI_NODE_ALIVE)
        reader->failed = true;
}

static void take_tell(rayi_reader *reader, rayi_member_tell *tell)
{
    tell->incarnation = rayi_take_u64(reader);
    tell->load = rayi_take_u32(reader);
    tell->count = rayi_take_count(reader, sizeof *tell->available);
    if (tell->count > RAYI_MEMBER_RESOURCES_MAX) {
        reader->failed = true;
        return;
    }
    for (uint32_t i = 0; i < tell->count; i++) {
        tell->available[i] = rayi_take_i64(reader);
        if (tell->available[i] > RAYI_MEMBER_AMOUNT_MAX || tell->available[i] < -RAYI_MEMBER_AMOUNT_MAX)
            reader->failed = true;
    }
}

static bool answer_is_sound(const rayi_member_answer *answer)
{
    if ((unsigned)answer->verdict > RAYI_VERDICT_FENCED || (unsigned)answer->refusal > RAYI_REFUSAL_MALFORMED)
        return false;
    if ((answer->verdict == RAYI_VERDICT_REFUSED) != (answer->refusal != RAYI_REFUSAL_NONE))
        return false;
    if (answer->verdict == RAYI_VERDICT_ACCEPTED && (answer->incarnation == 0 || answer->life == 0))
        return false;
    return answer->generation > 0 && !(answer->flags & ~RAYI_MEMBER_FLAGS);
}

static void take_answer(rayi_reader *reader, rayi_member_answer *answer)
{
    answer->verdict = (rayi_verdict)rayi_take_u8(reader);
    answer->refusal = (rayi_refusal)rayi_take_u8(reader);
    if (answer->verdict == RAYI_VERDICT_REFUSED && answer->refusal == RAYI_REFUSAL_VERSION) {
        reader->at = reader->end; /* of a head that says the rest in another way */
        return;
    }
    answer->flags = rayi_take_u8(reader);
    take_into(reader, &answer->cluster, sizeof answer->cluster);
    answer->generation = rayi_take_u64(reader);
    answer->life = rayi_take_u64(reader);
    answer->incarnation = rayi_take_u64(reader);
    answer->asked_ms = rayi_take_i64(reader);
    answer->version = rayi_take_u64(reader);
    answer->nodes = rayi_take_u32(reader);
    if (!answer_is_sound(answer))
        reader->failed = true;
}

static void take_death(rayi_reader *reader, rayi_member_death *death)
{
    take_into(reader, &death->id, sizeof death->id);
    death->incarnation = rayi_take_u64(reader);
    death->cause = (rayi_death)rayi_take_u8(reader);
    if (death->incarnation == 0 || death->cause == RAYI_DEATH_NONE || (unsigned)death->cause > RAYI_DEATH_REPLACED)
        reader->failed = true;
}

static void take_table(rayi_reader *reader, rayi_member_message *out)
{
    out->as.table.bytes = reader->at - 1;
    out->as.table.size = rayi_reader_left(reader) + 1;
    reader->at = reader->end;
}

static void take_body(rayi_reader *reader, rayi_member_message *out)
{
    switch (out->what) {
    case RAYI_MEMBER_JOIN:
        take_join(reader, out);
        return;
    case RAYI_MEMBER_RENEW:
        out->as.renew.incarnation = rayi_take_u64(reader);
        out->as.renew.asked_ms = rayi_take_i64(reader);
        return;
    case RAYI_MEMBER_TELL:
        take_tell(reader, &out->as.tell);
        return;
    case RAYI_MEMBER_BEAT:
    case RAYI_MEMBER_LEAVE:
        out->as.incarnation = rayi_take_u64(reader);
        return;
    case RAYI_MEMBER_PULL:
        out->as.since = rayi_take_u64(reader);
        return;
    case RAYI_MEMBER_ANSWER:
        take_answer(reader, &out->as.answer);
        return;
    case RAYI_MEMBER_DEATH:
        take_death(reader, &out->as.death);
        return;
    case RAYI_MEMBER_TABLE:
        take_table(reader, out);
        return;
    case RAYI_MEMBER_END:
        out->as.generation = rayi_take_u64(reader);
        return;
    }
    reader->failed = true; /* the tag came from outside */
}

int rayi_member_message_take(const void *bytes, size_t size, rayi_member_message *out)
{
    rayi_reader reader = rayi_reader_of(bytes, size);
    memset(&out->as, 0, sizeof out->as);
    out->what = (rayi_member_what)rayi_take_u8(&reader);
    if (!reader.failed)
        take_body(&reader, out);
    return reader.failed || rayi_reader_left(&reader) > 0 ? RAY_ERR_ARGUMENT : 0;
}
