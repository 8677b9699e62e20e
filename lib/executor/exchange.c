/* What records hold, written into messages and read out of them. The forms of values are in wire/worker.h. */
#include "executor/inside.h"

#include <string.h>

#define OUTLINED_FROM ((size_t)64 << 10) /* bytes of a message from which on arguments are written as refs */
#define OUTLINED_MIN  64

rayi_result rayi_record_content(rayi_record *record)
{
    rayi_result content = {.kind = record->kind, .size = record->size};
    rayi_record *object;

    if (record->kind == RAYI_KIND_ERROR) {
        content.error = rayi_record_error(record);
    } else if (rayi_value_has_bytes(record->kind)) {
        object = rayi_record_bytes(record);
        content.size = object->size;
        memcpy(content.bytes, &object, sizeof object);
    } else {
        memcpy(content.bytes, record->content.bytes, sizeof content.bytes);
    }
    return content;
}

static void *pointer_in(const rayi_result *content)
{
    void *pointer;

    memcpy(&pointer, content->bytes, sizeof pointer);
    return pointer;
}

/* ---- writing ---- */

static int no_memory(void)
{
    return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a message to another process");
}

void rayi_exchange_write_error(rayi_writer *writer, const rayi_error *error)
{
    const ray_error *about = rayi_error_public(error);

    rayi_put_u8(writer, RAYI_FORM_ERROR);
    rayi_put_i64(writer, about->code);
    rayi_put_i64(writer, about->user_code);
    rayi_put_text(writer, about->message);
    rayi_put_text(writer, about->function);
    rayi_put_text(writer, about->node_id);
    rayi_put_i64(writer, about->pid);
    rayi_put_i64(writer, about->signal);
    rayi_put_text(writer, about->output);
    rayi_put_u32(writer, (uint32_t)about->payload_size);
    rayi_put_bytes(writer, about->payload, about->payload_size);
}

static int write_holds(rayi_port *port, rayi_thread *thread, rayi_writer *writer, const rayi_record *object)
{
    const rayi_extra *extra = object ? rayi_extra_if(object) : NULL;
    size_t count = extra ? extra->num_held : 0;

    rayi_put_u32(writer, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        uint64_t number = port->name_record(port, thread, extra->held[i]);
        if (!number)
            return no_memory();
        rayi_put_u64(writer, number);
    }
    return 0;
}

/* The NUL behind the bytes lets the receiver use them as a text where they lie. */
static void put_bytes(rayi_writer *writer, const void *bytes, size_t size_bytes)
{
    rayi_put_u32(writer, (uint32_t)size_bytes);
    rayi_put_bytes(writer, bytes, size_bytes);
    rayi_put_u8(writer, 0);
}

static int write_object(rayi_port *port, rayi_thread *thread, rayi_writer *writer, unsigned kind, rayi_record *object,
                        bool open)
{
    uint64_t number;
    int r;

    if (!rayi_object_is_far(object)) {
        rayi_put_u8(writer, RAYI_FORM_BYTES);
        rayi_put_u8(writer, (uint8_t)kind);
        r = write_holds(port, thread, writer, object);
        put_bytes(writer, object->content.buffer.data, object->size);
        return r;
    }
    number = port->name_block(port, thread, object);
    if (!number)
        return no_memory();
    rayi_put_u8(writer, RAYI_FORM_BLOCK);
    rayi_put_u8(writer, (uint8_t)kind);
    rayi_put_u64(writer, number);
    rayi_put_u64(writer, object->size);
    r = write_holds(port, thread, writer, object);
    return r < 0 ? r : port->write_place(port, thread, writer, object, open);
}

static int write_ref(rayi_port *port, rayi_thread *thread, rayi_writer *writer, rayi_record *record, unsigned form)
{
    uint64_t number = port->name_record(port, thread, record);

    rayi_put_u8(writer, (uint8_t)form);
    rayi_put_u64(writer, number);
    return number ? 0 : no_memory();
}

static int write_actor(rayi_port *port, rayi_thread *thread, rayi_writer *writer, ray_actor *actor)
{
    uint64_t number = port->name_actor(port, thread, actor);

    rayi_put_u8(writer, RAYI_FORM_ACTOR);
    rayi_put_u64(writer, number);
    rayi_put_text(writer, rayi_actor_class(actor));
    rayi_put_text(writer, rayi_actor_name(actor));
    return number ? 0 : no_memory();
}

static void write_number(rayi_writer *writer, unsigned kind, const void *data, size_t size_bytes)
{
    unsigned char room[8] = {0};

    memcpy(room, data, size_bytes);
    rayi_put_u8(writer, RAYI_FORM_NUMBER);
    rayi_put_u8(writer, (uint8_t)kind);
    rayi_put_bytes(writer, room, sizeof room);
}

int rayi_exchange_write(rayi_port *port, rayi_thread *thread, rayi_writer *writer, const rayi_result *content,
                        bool open)
{
    int r = 0;

    if (content->error)
        rayi_exchange_write_error(writer, content->error);
    else if (content->kind == RAY_KIND_NONE)
        rayi_put_u8(writer, RAYI_FORM_NONE);
    else if (rayi_is_number(content->kind))
        write_number(writer, content->kind, content->bytes, rayi_number_size(content->kind));
    else if (content->kind == RAY_KIND_REF)
        r = write_ref(port, thread, writer, pointer_in(content), RAYI_FORM_REF);
    else if (content->kind == RAY_KIND_ACTOR)
        r = write_actor(port, thread, writer, pointer_in(content));
    else
        r = write_object(port, thread, writer, content->kind, pointer_in(content), open);
    return r == 0 && writer->failed ? no_memory() : r;
}

/* Bytes of an argument that would make the message too large: as an object of their own. */
static int write_outlined(rayi_port *port, rayi_thread *thread, rayi_writer *writer, unsigned kind, ray_view bytes)
{
    rayi_record *object = rayi_object_new(thread, kind, bytes.size);

    if (!object)
        return rayi_error_last_public()->code;
    memcpy(object->content.buffer.data, bytes.data, bytes.size);
    rayi_object_finish(object);
    return port->keep(port, thread, object) ? write_ref(port, thread, writer, object, RAYI_FORM_AWAITED) : no_memory();
}

static int write_bytes_value(rayi_port *port, rayi_thread *thread, rayi_writer *writer, unsigned kind, ray_view bytes)
{
    if (port->keep && bytes.size > OUTLINED_MIN && writer->size + bytes.size > OUTLINED_FROM)
        return write_outlined(port, thread, writer, kind, bytes);
    rayi_put_u8(writer, RAYI_FORM_BYTES);
    rayi_put_u8(writer, (uint8_t)kind);
    rayi_put_u32(writer, 0);
    put_bytes(writer, bytes.data, bytes.size);
    return 0;
}

/* A ray_value, as arguments of that parameter type are kept. */
static int write_value(rayi_port *port, rayi_thread *thread, rayi_writer *writer, const ray_value *value)
{
    if (rayi_is_number(value->kind))
        write_number(writer, value->kind, value->data, rayi_number_size(value->kind));
    else if (value->kind == RAY_KIND_ACTOR)
        return write_actor(port, thread, writer, *(ray_actor **)value->data);
    else
        return write_bytes_value(port, thread, writer, value->kind, rayi_value_bytes(value));
    return 0;
}

static int write_packed(rayi_port *port, rayi_thread *thread, rayi_writer *writer, const rayi_param *param,
                        const uint64_t *slot)
{
    void *pointer = (void *)(uintptr_t)*slot;

    switch (param->kind) {
    case RAY_KIND_STRING:
        return write_bytes_value(port, thread, writer, RAY_KIND_STRING,
                                 (ray_view){.data = pointer, .size = strlen(pointer)});
    case RAY_KIND_BYTES:
        return write_bytes_value(port, thread, writer, RAY_KIND_BYTES, *(ray_view *)pointer);
    case RAY_KIND_STRUCT:
        return write_bytes_value(port, thread, writer, RAY_KIND_STRUCT,
                                 (ray_view){.data = pointer, .size = param->size});
    case RAY_KIND_REF:
        return write_ref(port, thread, writer, pointer, RAYI_FORM_REF);
    case RAY_KIND_ACTOR:
        return write_actor(port, thread, writer, pointer);
    case RAY_KIND_VALUE:
        return write_value(port, thread, writer, pointer);
    default:
        write_number(writer, param->kind, slot, param->size);
        return 0;
    }
}

int rayi_exchange_write_args(rayi_port *port, rayi_thread *thread, rayi_writer *writer, const rayi_task *task,
                             bool resolved)
{
    const uint64_t *slots = task->args;
    int r = 0;

    resolved = resolved && !rayi_function_is_abroad(rayi_task_function(
                               task)); /* whether a parameter wants the ref itself is not known here */
    for (size_t i = 0; i < task->num_args && r == 0; i++) {
        rayi_record *record = rayi_task_awaited(task, i);
        if (record && resolved) {
            rayi_result content = rayi_record_content(record);
            r = rayi_exchange_write(port, thread, writer, &content, true);
        } else if (record) {
            r = write_ref(port, thread, writer, record, RAYI_FORM_AWAITED);
        } else {
            r = write_packed(port, thread, writer, rayi_function_param(task->function, i), &slots[i]);
        }
    }
    return r == 0 && writer->failed ? no_memory() : r;
}

/* ---- reading ---- */

static bool has_bytes(unsigned kind)
{
    return kind == RAY_KIND_STRING || kind == RAY_KIND_BYTES || kind == RAY_KIND_STRUCT;
}

static bool read_error(rayi_reader *reader, rayi_error **out)
{
    ray_error about = {.size = sizeof about};

    about.code = (int)rayi_take_i64(reader);
    about.user_code = (int)rayi_take_i64(reader);
    about.message = rayi_take_text(reader);
    about.function = rayi_take_text(reader);
    about.node_id = rayi_take_text(reader);
    about.pid = rayi_take_i64(reader);
    about.signal = (int)rayi_take_i64(reader);
    about.output = rayi_take_text(reader);
    about.payload_size = rayi_take_count(reader, 1);
    about.payload = rayi_take_bytes(reader, about.payload_size);
    if (reader->failed || !about.message || about.code >= 0 || about.payload_size > RAYI_PAYLOAD_MAX)
        return false;
    *out = rayi_error_copy(&about);
    return true;
}

/* The refs that an object holds become its own. */
static bool read_holds(rayi_port *port, rayi_thread *thread, rayi_reader *reader, rayi_record ***held, size_t *count)
{
    *held = NULL;
    *count = 0;
    for (uint32_t left = rayi_take_count(reader, sizeof(uint64_t)); left > 0; left--) {
        rayi_record *record = port->record_of(port, thread, rayi_take_u64(reader)), **more;
        more = record ? rayi_memory_realloc(rayi_heap, *held, (*count + 1) * sizeof **held) : NULL;
        if (!more) {
            if (record)
                rayi_record_unref(thread, record);
            return false;
        }
        *held = more;
        (*held)[(*count)++] = record;
    }
    return !reader->failed;
}

static void drop_holds(rayi_thread *thread, rayi_record **held, size_t count)
{
    for (size_t i = 0; i < count; i++)
        rayi_record_unref(thread, held[i]);
    rayi_free(held);
}

/* Gives the object what it holds; one that is known already has it. */
static bool adopt(rayi_thread *thread, rayi_record *object, rayi_record **held, size_t count)
{
    rayi_extra *extra = count > 0 ? rayi_extra_of(object) : NULL;

    if (count > 0 && (!extra || extra->num_held > 0)) {
        drop_holds(thread, held, count);
        return extra != NULL;
    }
    if (count > 0) {
        extra->held = held;
        extra->num_held = count;
    }
    return true;
}

static bool read_bytes(rayi_port *port, rayi_thread *thread, rayi_reader *reader, rayi_result *out)
{
    unsigned kind = rayi_take_u8(reader);
    rayi_record **held, *object = NULL;
    size_t count;
    bool read = has_bytes(kind) && read_holds(port, thread, reader, &held, &count);
    uint32_t size = read ? rayi_take_count(reader, 1) : 0;
    const void *bytes = read ? rayi_take_bytes(reader, (size_t)size + 1) : NULL;

    if (!has_bytes(kind))
        return false;
    if (bytes && size <= RAYI_INLINE_MAX) /* more comes by way of the store: making room here could wait */
        object = rayi_object_new(thread, kind, size);
    if (!object) {
        drop_holds(thread, held, count);
        return false;
    }
    if (size > 0)
        memcpy(object->content.buffer.data, bytes, size);
    if (!adopt(thread, object, held, count)) {
        rayi_record_unref(thread, object);
        return false;
    }
    rayi_object_finish(object);
    out->kind = (uint8_t)kind;
    out->size = size;
    memcpy(out->bytes, &object, sizeof object);
    return true;
}

static bool read_block(rayi_port *port, rayi_thread *thread, rayi_reader *reader, rayi_result *out)
{
    unsigned kind = rayi_take_u8(reader);
    uint64_t number = rayi_take_u64(reader), size = rayi_take_u64(reader);
    rayi_record **held, *object;
    size_t count;

    if (!has_bytes(kind))
        return false;
    object = read_holds(port, thread, reader, &held, &count) ? port->block_of(port, thread, number, kind, size, reader)
                                                             : NULL;
    if (!object) {
        drop_holds(thread, held, count);
        return false;
    }
    if (port->knows_holds) {
        drop_holds(thread, held, count);
    } else if (!adopt(thread, object, held, count)) {
        rayi_record_unref(thread, object);
        return false;
    }
    out->kind = (uint8_t)kind;
    out->size = (size_t)size;
    memcpy(out->bytes, &object, sizeof object);
    return true;
}

static bool read_number(rayi_reader *reader, rayi_result *out)
{
    const void *bytes;

    out->kind = rayi_take_u8(reader);
    bytes = rayi_take_bytes(reader, 8);
    if (!bytes || !rayi_is_number(out->kind))
        return false;
    out->size = rayi_number_size(out->kind);
    memcpy(out->bytes, bytes, 8);
    return out->kind != RAY_KIND_BOOL || out->bytes[0] <= 1;
}

static bool read_counted(rayi_port *port, rayi_thread *thread, rayi_reader *reader, unsigned form, rayi_result *out)
{
    uint64_t number = rayi_take_u64(reader);
    void *pointer;

    if (form == RAYI_FORM_ACTOR) {
        const char *class = rayi_take_text(reader), *name = rayi_take_text(reader);
        pointer = reader->failed || !class ? NULL : port->actor_of(port, thread, number, class, name);
    } else {
        pointer = reader->failed ? NULL : port->record_of(port, thread, number);
    }
    out->kind = form == RAYI_FORM_ACTOR ? RAY_KIND_ACTOR : RAY_KIND_REF;
    out->size = sizeof pointer;
    memcpy(out->bytes, &pointer, sizeof pointer);
    return pointer != NULL;
}

static bool read_form(rayi_port *port, rayi_thread *thread, rayi_reader *reader, unsigned form, rayi_result *out)
{
    *out = (rayi_result){0};
    switch (form) {
    case RAYI_FORM_NONE:
        return !reader->failed;
    case RAYI_FORM_NUMBER:
        return read_number(reader, out);
    case RAYI_FORM_BYTES:
        return read_bytes(port, thread, reader, out);
    case RAYI_FORM_BLOCK:
        return read_block(port, thread, reader, out);
    case RAYI_FORM_REF:
    case RAYI_FORM_ACTOR:
        return read_counted(port, thread, reader, form, out);
    case RAYI_FORM_ERROR:
        return read_error(reader, &out->error);
    default:
        return false;
    }
}

bool rayi_exchange_read(rayi_port *port, rayi_thread *thread, rayi_reader *reader, rayi_result *out)
{
    if (read_form(port, thread, reader, rayi_take_u8(reader), out))
        return true;
    *out = (rayi_result){0}; /* it counts nothing */
    return false;
}

/* ---- arguments ---- */

/* Bytes without holds are used where they lie in the message. */
static bool lies_flat(const rayi_reader *reader, unsigned form)
{
    uint32_t holds;

    if (form != RAYI_FORM_BYTES || rayi_reader_left(reader) < 1 + sizeof holds)
        return false;
    memcpy(&holds, reader->at + 1, sizeof holds);
    return holds == 0;
}

static bool read_flat(rayi_reader *reader, struct rayi_arg_room *room, ray_value *value)
{
    unsigned kind = rayi_take_u8(reader);
    uint32_t size;

    (void)rayi_take_u32(reader);
    size = rayi_take_count(reader, 1);
    room->view = (ray_view){.data = rayi_take_bytes(reader, (size_t)size + 1), .size = size};
    if (!room->view.data || !has_bytes(kind) ||
        (kind == RAY_KIND_STRING && memchr(room->view.data, 0, (size_t)size + 1) != (char *)room->view.data + size))
        return false;
    *value = (ray_value){.kind = kind, .size = kind == RAY_KIND_BYTES ? sizeof(ray_view) : size, .data = &room->view};
    if (kind == RAY_KIND_STRING)
        *value = (ray_value){.kind = kind, .size = sizeof(char *), .data = &room->view.data};
    else if (kind == RAY_KIND_STRUCT)
        value->data = (void *)room->view.data;
    return true;
}

/* A ref that is done and has no value, as a task that returns nothing leaves it. */
static bool make_nothing(rayi_thread *thread, struct rayi_arg_room *room, ray_value *value)
{
    rayi_result nothing = {0};

    room->record = rayi_record_new(thread);
    if (!room->record)
        return false;
    rayi_record_fill(thread, room->record, &nothing);
    *value = (ray_value){.kind = RAY_KIND_REF, .size = sizeof room->record, .data = &room->record};
    return true;
}

static bool read_arg(rayi_port *port, rayi_thread *thread, rayi_reader *reader, struct rayi_arg_room *room,
                     ray_value *value)
{
    unsigned form = rayi_take_u8(reader);
    rayi_result content;
    void *pointer;

    if (lies_flat(reader, form))
        return read_flat(reader, room, value);
    if (form == RAYI_FORM_AWAITED)
        form = RAYI_FORM_REF; /* what the parameter is decides whether it is waited for */
    if (form == RAYI_FORM_NONE)
        return !reader->failed && make_nothing(thread, room, value);
    if (form == RAYI_FORM_ERROR || !read_form(port, thread, reader, form, &content))
        return false;
    if (rayi_is_number(content.kind)) {
        memcpy(&room->number, content.bytes, sizeof room->number);
        *value = (ray_value){.kind = content.kind, .size = content.size, .data = &room->number};
        return true;
    }
    memcpy(&pointer, content.bytes, sizeof pointer);
    if (content.kind == RAY_KIND_ACTOR) {
        room->actor = pointer;
        *value = (ray_value){.kind = RAY_KIND_ACTOR, .size = sizeof pointer, .data = &room->actor};
    } else { /* an object of bytes is a ref that is done */
        room->record = pointer;
        *value = (ray_value){.kind = RAY_KIND_REF, .size = sizeof pointer, .data = &room->record};
    }
    return true;
}

bool rayi_exchange_read_args(rayi_port *port, rayi_thread *thread, rayi_reader *reader, size_t count, rayi_args *out)
{
    out->count = 0;
    out->block = NULL;
    out->values = out->few;
    out->rooms = out->few_rooms;
    if (count > RAYI_COUNT_OF(out->few)) {
        if (count > rayi_reader_left(reader))
            return false;
        out->block = rayi_alloc(count * (sizeof *out->values + sizeof *out->rooms));
        if (!out->block)
            return false;
        out->values = out->block;
        out->rooms = (struct rayi_arg_room *)(out->values + count);
    }
    for (size_t i = 0; i < count; i++) {
        out->rooms[i].record = NULL;
        out->rooms[i].actor = NULL;
        if (!read_arg(port, thread, reader, &out->rooms[i], &out->values[i])) {
            rayi_args_drop(thread, out);
            return false;
        }
        out->count++;
    }
    return true;
}

void rayi_args_drop(rayi_thread *thread, rayi_args *args)
{
    for (size_t i = 0; i < args->count; i++) {
        if (args->rooms[i].record)
            rayi_record_unref(thread, args->rooms[i].record);
        if (args->rooms[i].actor)
            rayi_actor_release(thread, args->rooms[i].actor);
    }
    args->count = 0;
    rayi_free(args->block);
    args->block = NULL;
}
