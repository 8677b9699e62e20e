/* What a child prints: from its pipes into files, last words and lines.
 *
 * A wakeup reads one chunk, so that a child that prints without end does not keep the loop from others; while nobody
 * listens and no file is asked for, a chunk is read and dropped. At the process's end what is in the pipe then is read
 * and no more, since a grandchild may go on writing.
 *
 * The files are opened for each chunk: two descriptors a worker are worth more than two calls a chunk. */
#include "process/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 64 << 10 };

/* ---- characters ---- */

/* Bytes of the character that starts here, 0 if none does; more than size when it is cut off. */
static size_t character(const unsigned char *c, size_t size)
{
    if (c[0] < 0x80)
        return c[0] != 0;
    size_t length = c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : c[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < length && i < size; i++)
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    if (length > 2 && size > 1) { /* overlong, surrogate, beyond the last */
        if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) || (c[0] == 0xf0 && c[1] < 0x90) ||
            (c[0] == 0xf4 && c[1] > 0x8f))
            return 0;
    }
    return length;
}

size_t rayi_process_whole(const char *text, size_t size)
{
    for (size_t back = 1; back <= 3 && back <= size; back++) {
        const unsigned char *c = (const unsigned char *)text + size - back;
        if ((*c & 0xc0) == 0x80)
            continue;
        return character(c, back) > back ? size - back : size;
    }
    return size;
}

void rayi_process_clean(char *text, size_t size)
{
    unsigned char *c = (unsigned char *)text;
    for (size_t i = 0; i < size;) {
        size_t length = character(c + i, size - i);
        if (length == 0 || length > size - i) {
            c[i] = '?';
            length = 1;
        }
        i += length;
    }
}

/* ---- files ---- */

int rayi_process_file(const rayi_process_stream *stream, const char *suffix, char *out, size_t size)
{
    const rayi_process *process = stream->process;
    return snprintf(out, size, "%s/worker-%lld.%s%s", process->log_path, (long long)process->pid,
                    stream->is_error ? "err" : "out", suffix);
}

/* What cannot be written (disk full) is missing in the file: nobody can be told of it in a better place. */
static void save(rayi_process_stream *stream, const char *bytes, size_t size)
{
    char path[4200], old[4200];
    struct stat status;
    if (rayi_process_file(stream, "", path, sizeof path) >= (int)sizeof path)
        return;
    while (size > 0) {
        if (stream->file_bytes >= RAYI_PROCESS_FILE_MAX) {
            rayi_process_file(stream, ".1", old, sizeof old);
            if (rename(path, old) < 0 && unlink(path) < 0 && errno != ENOENT)
                return;
            stream->file_bytes = 0;
        }
        size_t part = RAYI_MIN(size, (size_t)(RAYI_PROCESS_FILE_MAX - stream->file_bytes));
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (fd < 0)
            return;
        if (!stream->has_file) { /* an earlier process with this pid may have left one */
            stream->has_file = true;
            if (fstat(fd, &status) == 0 && status.st_size > 0) {
                stream->file_bytes = RAYI_MIN((uint64_t)status.st_size, (uint64_t)RAYI_PROCESS_FILE_MAX);
                part = RAYI_MIN(size, (size_t)(RAYI_PROCESS_FILE_MAX - stream->file_bytes));
            }
        }
        bool whole = rayi_write_all(fd, bytes, part) == 0;
        close(fd);
        if (!whole)
            return;
        stream->file_bytes += part;
        bytes += part;
        size -= part;
    }
}

/* ---- last words ---- */

static void remember(rayi_process *process, const char *bytes, size_t size)
{
    size_t keep = sizeof process->tail;
    if (size >= keep) {
        process->tail_cut |= size > keep || process->tail_size > 0;
        memcpy(process->tail, bytes + size - keep, keep);
        process->tail_size = keep;
        return;
    }
    if (process->tail_size + size > keep) {
        size_t gone = process->tail_size + size - keep;
        process->tail_size -= gone;
        memmove(process->tail, process->tail + gone, process->tail_size);
        process->tail_cut = true;
    }
    memcpy(process->tail + process->tail_size, bytes, size);
    process->tail_size += size;
}

/* Where the last lines start: at most so many, and none that lost its beginning unless there is no other. */
static const char *last_lines(const char *text, size_t size, bool cut)
{
    size_t lines = 0;
    for (size_t i = size - 1; i-- > 0;) /* the last byte ends the last line, or is part of it */
        if (text[i] == '\n' && ++lines == RAYI_PROCESS_TAIL_LINES)
            return text + i + 1;
    if (cut && lines > 0)
        return (const char *)memchr(text, '\n', size) + 1;
    return text;
}

size_t rayi_process_last_words(rayi_process *process, char *out, size_t size)
{
    char text[RAYI_PROCESS_TAIL_MAX];
    size_t length = 0;
    if (size == 0)
        return 0;
    if (!process->closing)
        rayi_process_drain(process, false);
    if (process->tail_size > 0) {
        const char *from = last_lines(process->tail, process->tail_size, process->tail_cut);
        const char *end = process->tail + process->tail_size;
        for (; from < end; from++)
            if (*from != '\r' || from + 1 == end || from[1] != '\n')
                text[length++] = *from;
    }
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
        length--;
    size_t skip = length > size - 1 ? length - (size - 1) : 0;
    while (skip < length && (text[skip] & 0xc0) == 0x80) /* the rest of a character */
        skip++;
    length -= skip;
    memcpy(out, text + skip, length);
    rayi_process_clean(out, length);
    out[length] = 0;
    return length;
}

/* ---- lines ---- */

static void tell_partial(rayi_process_stream *stream, size_t size)
{
    rayi_process_tell(stream, stream->partial, size);
    stream->partial_size -= size;
    memmove(stream->partial, stream->partial + size, stream->partial_size);
}

/* Appends to the unfinished line; where it grows too long its beginning is told. Without memory: in parts as they
 * come. */
static void hold(rayi_process_stream *stream, const char *bytes, size_t size)
{
    if (!stream->partial && size > 0)
        stream->partial = rayi_alloc(RAYI_PROCESS_LINE_MAX);
    while (size > 0) {
        if (!stream->partial || stream->partial_size == RAYI_PROCESS_LINE_MAX) {
            stream->continued = true;
            if (stream->partial) {
                tell_partial(stream, rayi_process_whole(stream->partial, stream->partial_size));
            } else {
                size_t part = RAYI_MIN(size, (size_t)RAYI_PROCESS_LINE_MAX);
                rayi_process_tell(stream, bytes, part);
                bytes += part;
                size -= part;
            }
            continue;
        }
        size_t part = RAYI_MIN(size, RAYI_PROCESS_LINE_MAX - stream->partial_size);
        memcpy(stream->partial + stream->partial_size, bytes, part);
        stream->partial_size += part;
        bytes += part;
        size -= part;
    }
}

static void end_line(rayi_process_stream *stream)
{
    size_t size = stream->partial_size;
    if (size > 0 && stream->partial[size - 1] == '\r')
        size--;
    if (size > 0 || !stream->continued)
        rayi_process_tell(stream, stream->partial, size);
    stream->partial_size = 0;
    stream->continued = false;
}

static void split(rayi_process_stream *stream, const char *bytes, size_t size)
{
    const char *end = bytes + size, *feed;
    for (; bytes < end && (feed = memchr(bytes, '\n', (size_t)(end - bytes))); bytes = feed + 1) {
        size_t line = (size_t)(feed - bytes);
        if (stream->partial_size > 0 || stream->continued || line > RAYI_PROCESS_LINE_MAX) {
            hold(stream, bytes, line);
            end_line(stream);
        } else {
            rayi_process_tell(stream, bytes, line - (line > 0 && bytes[line - 1] == '\r'));
        }
    }
    hold(stream, bytes, (size_t)(end - bytes));
}

static void take(rayi_process_stream *stream, const char *bytes, size_t size)
{
    if (stream->process->log_path)
        save(stream, bytes, size);
    if (stream->is_error)
        remember(stream->process, bytes, size);
    if (rayi_log_wants(RAY_LOG_INFO))
        split(stream, bytes, size);
}

/* An unfinished line is told as it is. */
static void finish_line(rayi_process_stream *stream)
{
    if (stream->partial_size > 0)
        end_line(stream);
    stream->continued = false;
}

/* ---- pipes ---- */

/* 0: nothing more is there now; negative: nor ever will be. */
static ssize_t read_chunk(rayi_process_stream *stream)
{
    char chunk[CHUNK_BYTES];
    ssize_t size;
    do
        size = read(stream->fd, chunk, sizeof chunk);
    while (size < 0 && errno == EINTR);
    if (size > 0)
        take(stream, chunk, (size_t)size);
    return size > 0 ? size : size < 0 && errno == EAGAIN ? 0 : -1;
}

void rayi_process_stream_close(rayi_process_stream *stream)
{
    if (stream->fd < 0)
        return;
    finish_line(stream);
    uv_close((uv_handle_t *)&stream->poll, rayi_process_handle_closed); /* stops looking at fd at once */
    close(stream->fd);
    stream->fd = -1;
}

void rayi_process_on_output(uv_poll_t *poll, int status, int events)
{
    rayi_process_stream *stream = rayi_container_of(poll, rayi_process_stream, poll);
    (void)events;
    if (status < 0 || read_chunk(stream) < 0)
        rayi_process_stream_close(stream);
}

void rayi_process_drain(rayi_process *process, bool finish)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(process->streams); i++) {
        rayi_process_stream *stream = &process->streams[i];
        if (stream->fd < 0)
            continue;
        ssize_t left = fcntl(stream->fd, F_GETPIPE_SZ), size;
        for (; left > 0; left -= size) {
            size = read_chunk(stream);
            if (size <= 0)
                break;
        }
        if (finish)
            finish_line(stream);
    }
    if (finish)
        rayi_process_tell_dropped(process);
}
