/* Runs a fuzzer's harness without a fuzzer: first each file of a corpus, then mutations of them that follow from a
 * seed, so that a failure can be run again. A harness is a file with LLVMFuzzerTestOneInput, as libFuzzer has it; what
 * it finds wrong ends the process.
 *
 *   PROGRAM CORPUS [MUTATIONS [SEED]]     CORPUS: a folder, or a single file to run again
 *
 * The input under way when the process ends badly is left in ./crash-NAME-input, if the folder can be written to. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILES 4096
#define MAX_BYTES ((size_t)1 << 16) /* of a mutation */

typedef struct input {
    unsigned char *bytes;
    size_t size;
} input;

static input corpus[MAX_FILES];
static size_t num_files;
static uint64_t random_state;

/* ---- what is left of a crash ---- */

static const unsigned char *volatile now_bytes;
static volatile size_t now_size;
static char crash_path[128];

static void save_input(void)
{
    int fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0 && write(fd, (const void *)now_bytes, now_size) == (ssize_t)now_size) {
        static const char words[] = "the input is in ";
        (void)!write(STDERR_FILENO, words, sizeof words - 1);
        (void)!write(STDERR_FILENO, crash_path, strlen(crash_path));
        (void)!write(STDERR_FILENO, "\n", 1);
    }
}

static void on_crash(int signal)
{
    save_input();
    raise(signal); /* its default action: the handler is gone */
}

/* Sanitizers end the process without a signal. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

static void watch_crashes(const char *program)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    const char *name = strrchr(program, '/');
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND};
    snprintf(crash_path, sizeof crash_path, "crash-%s-input", name ? name + 1 : program);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(save_input);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction old;
        /* A sanitizer's own handler tells more, and calls back. */
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            sigaction(signals[i], &action, NULL);
    }
}

static void run(const unsigned char *bytes, size_t size)
{
    /* A block of its own size, so that a sanitizer sees a read beyond it. */
    unsigned char *copy = malloc(size > 0 ? size : 1);
    if (!copy)
        abort();
    if (size > 0)
        memcpy(copy, bytes, size);
    now_bytes = copy;
    now_size = size;
    alarm(20); /* one input that takes that long is a hang */
    if (LLVMFuzzerTestOneInput(copy, size) != 0)
        abort();
    alarm(0);
    now_size = 0;
    free(copy);
}

/* ---- the corpus ---- */

static bool read_file(const char *path, input *out)
{
    FILE *file = fopen(path, "rbe");
    struct stat stat;
    if (!file || fstat(fileno(file), &stat) || !S_ISREG(stat.st_mode)) {
        if (file)
            fclose(file);
        return false;
    }
    out->size = (size_t)stat.st_size;
    out->bytes = malloc(out->size + 1);
    bool read_all = out->bytes && fread(out->bytes, 1, out->size, file) == out->size;
    fclose(file);
    return read_all;
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); /* not by locale */
}

static void read_corpus(const char *path)
{
    struct dirent **names;
    if (read_file(path, &corpus[0])) {
        num_files = 1;
        return;
    }
    int count = scandir(path, &names, NULL, compare_names);
    for (int i = 0; i < count; i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && num_files < MAX_FILES && read_file(file, &corpus[num_files]))
            num_files++;
        free(names[i]);
    }
    if (count >= 0)
        free(names);
}

/* ---- mutations ---- */

static uint64_t roll(uint64_t below)
{
    uint64_t value = random_state += 0x9e3779b97f4a7c15;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return below > 0 ? (value ^ value >> 31) % below : 0;
}

/* A number that parsers stumble over, in 1, 2, 4 or 8 bytes. */
static void put_number(input *in)
{
    static const uint64_t numbers[] = {
        0,
        1,
        2,
        16,
        63,
        64,
        65,
        127,
        128,
        255,
        256,
        1024,
        4095,
        4096,
        32767,
        32768,
        65535,
        65536,
        131072,
        131073,
        524288,
        INT32_MAX,
        (uint64_t)INT32_MAX + 1,
        UINT32_MAX,
        (uint64_t)UINT32_MAX + 1,
        INT64_MAX,
        (uint64_t)INT64_MAX + 1,
        UINT64_MAX,
    };
    uint64_t number = numbers[roll(sizeof numbers / sizeof *numbers)];
    size_t width = (size_t)1 << roll(4);
    if (in->size >= width)
        memcpy(in->bytes + roll(in->size - width + 1), &number, width); /* the byte order of this machine */
}

static void insert(input *in, const unsigned char *bytes, size_t size)
{
    size_t at = roll(in->size + 1);
    if (size > MAX_BYTES - in->size)
        size = MAX_BYTES - in->size;
    memmove(in->bytes + at + size, in->bytes + at, in->size - at);
    memcpy(in->bytes + at, bytes, size);
    in->size += size;
}

static void erase(input *in)
{
    size_t at = roll(in->size), size = roll(roll(2) ? 8 : in->size) + 1;
    if (in->size == 0)
        return;
    if (size > in->size - at)
        size = in->size - at;
    memmove(in->bytes + at, in->bytes + at + size, in->size - at - size);
    in->size -= size;
}

static void mutate(input *in)
{
    const input *other = &corpus[roll(num_files)];
    static unsigned char piece[MAX_BYTES];
    size_t from, size;
    switch (roll(8)) {
    case 0:
        if (in->size > 0)
            in->bytes[roll(in->size)] ^= (unsigned char)(1 << roll(8));
        break;
    case 1:
        if (in->size > 0)
            in->bytes[roll(in->size)] = (unsigned char)roll(256);
        break;
    case 2:
    case 3:
        put_number(in);
        break;
    case 4:
        erase(in);
        break;
    case 5: /* bytes from nowhere */
        size = roll(16);
        for (size_t i = 0; i < size; i++)
            piece[i] = (unsigned char)roll(256);
        insert(in, piece, size);
        break;
    default: /* a piece of another, or of the same once more */
        if (roll(2))
            other = in;
        from = roll(other->size);
        size = roll(roll(2) ? 64 : other->size - from);
        if (size > other->size - from)
            size = other->size - from;
        if (size > MAX_BYTES)
            size = MAX_BYTES;
        if (size > 0)
            memcpy(piece, other->bytes + from, size);
        insert(in, piece, size);
    }
}

int main(int argc, char **argv)
{
    static unsigned char bytes[MAX_BYTES];
    unsigned long mutations = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;
    random_state = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
    if (argc < 2) {
        fprintf(stderr, "%s CORPUS [MUTATIONS [SEED]]\n", argv[0]);
        return 2;
    }
    watch_crashes(argv[0]);
    read_corpus(argv[1]);
    if (num_files == 0) {
        fprintf(stderr, "%s: no corpus\n", argv[1]);
        return 2;
    }
    printf("%zu files, then %lu mutations from seed %llu\n", num_files, mutations, (unsigned long long)random_state);
    fflush(stdout);
    for (size_t i = 0; i < num_files; i++)
        run(corpus[i].bytes, corpus[i].size);
    for (unsigned long i = 0; i < mutations; i++) {
        const input *from = &corpus[roll(num_files)];
        input one = {bytes, from->size < MAX_BYTES ? from->size : MAX_BYTES};
        memcpy(bytes, from->bytes, one.size);
        for (uint64_t times = 1 + roll(8); times > 0; times--)
            mutate(&one);
        run(one.bytes, one.size);
    }
    printf("done\n");
    for (size_t i = 0; i < num_files; i++)
        free(corpus[i].bytes);
    return 0;
}
