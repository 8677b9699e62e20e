/* Reading options and their values: what is wrong is said in one way for all commands. */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int wrong(const struct command *command, int c, char **argv)
{
    const char *word = argv[optind - 1];
    size_t size = strcspn(word, "=");
    if (c == ':')
        return complain(command, STATUS_USAGE, "%s needs a value", word);
    if (strncmp(word, "--", 2) == 0 && optopt != 0 && word[size])
        return complain(command, STATUS_USAGE, "%.*s takes no value, got \"%s\"", (int)size, word, word + size + 1);
    if (optopt != 0) /* of a bundle of letters, the one */
        return complain(command, STATUS_USAGE, "there is no option -%c; --help lists them", optopt);
    return complain(command, STATUS_USAGE, "there is no option %.*s; --help lists them", (int)size, word);
}

int next_option(const struct command *command, int argc, char **argv, const struct option *known, int *status)
{
    opterr = 0; /* its words would begin with the command's name alone */
    int c = getopt_long(argc, argv, ":", known, NULL);
    if (c == -1)
        return 0;
    if (c == 'h')
        *status = print_help(command);
    else if (c == ':' || c == '?')
        *status = wrong(command, c, argv);
    else
        return c;
    return -1;
}

bool check_arguments(const struct command *command, int argc, char **argv, int least, int most, const char *wanted)
{
    int count = argc - optind;
    if (count > most)
        complain(command, STATUS_USAGE, "expected %s, got \"%s\"", wanted, argv[optind + most]);
    else if (count < least)
        complain(command, STATUS_USAGE, "expected %s; --help tells more", wanted);
    return count >= least && count <= most;
}

/* ---- values ---- */

/* Digits, and what follows them. */
static bool read_digits(const char *text, uint64_t *out, const char **rest)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    *rest = end;
    return *text >= '0' && *text <= '9' && errno == 0;
}

bool read_number(const struct command *command, const char *name, const char *text, uint64_t most, uint64_t *out)
{
    const char *rest;
    if (read_digits(text, out, &rest) && !*rest && *out <= most)
        return true;
    complain(command, STATUS_USAGE, "--%s: expected a whole number from 0 to %llu, got \"%s\"", name,
             (unsigned long long)most, text);
    return false;
}

bool read_bytes(const struct command *command, const char *name, const char *text, uint64_t *out)
{
    static const char *const units[] = {"", "K", "M", "G", "T"};
    const char *rest;
    uint64_t count;
    for (size_t i = 0; read_digits(text, &count, &rest) && i < sizeof units / sizeof *units; i++) {
        size_t size = strlen(units[i]);
        bool is = strncmp(rest, units[i], size) == 0 && (!rest[size] || (size > 0 && strcmp(rest + size, "iB") == 0));
        if (is && count > 0 && count <= UINT64_C(1) << 50 >> 10 * i) {
            *out = count << 10 * i;
            return true;
        }
    }
    complain(command, STATUS_USAGE, "--%s: expected bytes, as in 2000000000 or 2GiB, up to 1024TiB, got \"%s\"", name,
             text);
    return false;
}

bool read_seconds(const struct command *command, const char *name, const char *text, int64_t *out_ms)
{
    char *end;
    double seconds = strtod(text, &end);
    if (*text >= '0' && *text <= '9' && !*end && seconds <= 1e9) {
        *out_ms = (int64_t)(seconds * 1000);
        return true;
    }
    complain(command, STATUS_USAGE, "--%s: expected seconds, as in 30 or 0.5, got \"%s\"", name, text);
    return false;
}

bool read_choice(const struct command *command, const char *name, const char *text, const char *const *words,
                 size_t *out)
{
    char all[256] = "";
    for (*out = 0; words[*out]; ++*out) {
        if (strcmp(words[*out], text) == 0)
            return true;
        size_t size = strlen(all);
        snprintf(all + size, sizeof all - size, "%s%s", *out == 0 ? "" : words[*out + 1] ? ", " : " or ", words[*out]);
    }
    complain(command, STATUS_USAGE, "%s: expected %s, got \"%s\"", name, all, text);
    return false;
}
