/* Code that travels, on this node: libraries of this process that other nodes are to have, and files of libraries that
 * worker processes are to open. What goes between nodes is in cluster/code.c. */
#include "isolation/isolation.h"
#include "raylet/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "code"

/* ---- ours ---- */

static int cannot_read(const char *path, int error)
{
    return rayi_fail(RAY_ERR_LOAD, "%s cannot be read: %s", path, error ? strerror(error) : "it has become shorter");
}

static int read_all(int fd, const char *path, char *out, size_t size_bytes)
{
    while (size_bytes > 0) {
        ssize_t got = read(fd, out, size_bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return cannot_read(path, got < 0 ? errno : 0);
        out += got;
        size_bytes -= (size_t)got;
    }
    return 0;
}

/* The file as an object: counted. NULL: last error. */
static rayi_record *read_library(rayi_thread *thread, const char *path, char hash[RAYI_CODE_HASH_SIZE])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), r;
    struct stat status;
    ray_buffer *buffer = NULL;

    if (fd < 0 || fstat(fd, &status) < 0)
        r = cannot_read(path, errno);
    else if (!S_ISREG(status.st_mode) || status.st_size == 0)
        r = rayi_fail(RAY_ERR_LOAD, "%s is no file that can be sent", path);
    else
        r = (buffer = rayi_buffer_new(thread, (size_t)status.st_size)) ? 0 : rayi_error_last_public()->code;
    if (r == 0)
        r = read_all(fd, path, buffer->data, buffer->size);
    if (r == 0)
        r = rayi_hash(buffer->data, buffer->size, hash);
    if (fd >= 0)
        close(fd);
    if (r == 0)
        return rayi_buffer_seal(thread, buffer);
    if (buffer)
        rayi_record_unref(thread, rayi_buffer_record(buffer));
    return NULL;
}

int rayi_code_everywhere(rayi_thread *thread, const char *path)
{
    rayi_node *node = rayi_node_of(thread);
    const char *slash = strrchr(path, '/');
    char hash[RAYI_CODE_HASH_SIZE];
    rayi_record *object;
    rayi_code *code;
    int r;

    if (!node->cluster) /* this node is all that there is */
        return 0;
    object = read_library(thread, path, hash);
    if (!object)
        return rayi_error_last_public()->code;
    code = rayi_code_enter(node->executor, hash, slash ? slash + 1 : path);
    if (!code) {
        rayi_record_unref(thread, object);
        return RAY_ERR_NO_MEMORY;
    }
    /* Its functions are told as its own once they are claimed: then others must be able to get it. */
    r = rayi_code_add_source(node->cluster, thread, code, NULL, object);
    return r == 0 ? rayi_code_claim(node->executor, code, path) : r;
}

/* ---- those of others ---- */

typedef struct keeping {
    rayi_node *node;
    rayi_code *code;
    char *path;
    size_t size;
} keeping;

/* Written and entered under the lock, under which it is removed as well: a file that is entered is there. Of two that
 * bring it at once the second writes the same. */
static int keep(void *arg, const void *bytes, size_t size_bytes)
{
    keeping *k = arg;
    char name[RAYI_CODE_HASH_SIZE + 8], *file;
    int r;

    snprintf(name, sizeof name, "%s.so", k->code->hash);
    pthread_mutex_lock(&k->code->file_lock);
    r = rayi_session_keep(k->node->session, FOLDER, name, bytes, size_bytes, k->path, k->size);
    file = r == 0 ? rayi_strdup(k->path) : NULL;
    if (file) {
        rayi_free(k->code->file);
        k->code->file = file;
    }
    pthread_mutex_unlock(&k->code->file_lock);
    return r == 0 && !file ? rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: %s", k->path) : r;
}

/* True: it is here, at path; unless somebody has cleared it away. */
static bool is_here(rayi_code *code, char *path, size_t size)
{
    bool here;

    pthread_mutex_lock(&code->file_lock);
    here = code->file && strlen(code->file) < size && access(code->file, R_OK) == 0;
    if (here)
        strcpy(path, code->file);
    pthread_mutex_unlock(&code->file_lock);
    return here;
}

int rayi_code_bring(void *of, rayi_thread *thread, rayi_code *code, char *path, size_t size)
{
    rayi_node *node = of;
    keeping k = {.node = node, .code = code, .path = path, .size = size};

    return is_here(code, path, size) ? 0 : rayi_code_fetch(node->cluster, thread, code, keep, &k);
}

void rayi_code_gone(void *of, rayi_code *code)
{
    rayi_node *node = of;
    rayi_isolation *isolation = atomic_load(&node->isolation);

    pthread_mutex_lock(&code->file_lock);
    if (code->file)
        (void)unlink(code->file);
    rayi_free(code->file);
    code->file = NULL;
    pthread_mutex_unlock(&code->file_lock);
    if (isolation)
        rayi_isolation_code_gone(isolation, code);
}
