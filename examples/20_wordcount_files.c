/* Finding the files to count. */
#define _XOPEN_SOURCE 700
#include "20_wordcount.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void files_add(files *f, char *path, uint64_t size, int reason)
{
    if (f->count == f->capacity) {
        f->capacity = f->capacity ? f->capacity * 2 : 1024;
        f->items = checked(realloc(f->items, f->capacity * sizeof *f->items));
    }
    f->items[f->count++] = (found){path, size, reason};
}

typedef struct stack {
    char **paths;
    size_t count, capacity;
} stack;

static void stack_push(stack *s, char *path)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 64;
        s->paths = checked(realloc(s->paths, s->capacity * sizeof *s->paths));
    }
    s->paths[s->count++] = path;
}

static char *path_join(const char *directory, const char *name)
{
    size_t length = strlen(directory), size = length + strlen(name) + 2;
    char *path = checked(malloc(size));
    snprintf(path, size, "%s%s%s", directory, length > 0 && directory[length - 1] == '/' ? "" : "/", name);
    return path;
}

/* Takes path: a regular file is kept, a directory is to be read; what is neither is passed over. */
static void take(files *f, stack *directories, char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        files_add(f, path, 0, errno);
    else if (S_ISREG(st.st_mode))
        files_add(f, path, (uint64_t)st.st_size, 0);
    else if (S_ISDIR(st.st_mode))
        stack_push(directories, path);
    else
        free(path);
}

static void read_directory(files *f, stack *directories, char *path)
{
    DIR *d = opendir(path);
    if (!d) {
        files_add(f, path, 0, errno);
        return;
    }
    bool empty = true;
    errno = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL; errno = 0) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        empty = false;
        take(f, directories, path_join(path, e->d_name));
    }
    int reason = errno != 0 ? errno : empty ? EMPTY_DIRECTORY : 0;
    closedir(d);
    if (reason != 0)
        files_add(f, path, 0, reason);
    else
        free(path);
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(((const found *)a)->path, ((const found *)b)->path);
}

files files_find(char *const *directories, size_t count)
{
    files f = {0};
    stack todo = {0};
    for (size_t i = 0; i < count; i++) {
        char *path = realpath(directories[i], NULL); /* symbolic links count only here */
        struct stat st;
        if (!path)
            files_add(&f, checked(strdup(directories[i])), 0, errno);
        else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
            files_add(&f, path, 0, NO_FILE);
        else
            take(&f, &todo, path);
    }
    while (todo.count > 0)
        read_directory(&f, &todo, todo.paths[--todo.count]);
    free(todo.paths);
    if (f.count == 0)
        return f;

    qsort(f.items, f.count, sizeof *f.items, compare_paths);
    size_t kept = 0;
    for (size_t i = 0; i < f.count; i++)
        if (i > 0 && strcmp(f.items[i].path, f.items[kept - 1].path) == 0)
            free(f.items[i].path);
        else
            f.items[kept++] = f.items[i];
    f.count = kept;
    for (size_t i = 0; i < kept; i++)
        f.bytes += f.items[i].size;
    if (kept > UINT32_MAX)
        die("driver", "too many files");
    return f;
}

void files_free(files *f)
{
    for (size_t i = 0; i < f->count; i++)
        free(f->items[i].path);
    free(f->items);
}
