/* The commands of raylaunch: one small file each. They see what every program sees, <ray/...>, and nothing else.
 *
 * A command is run with its own name as argv[0] and what follows it as the rest. What it returns is the exit status of
 * raylaunch. What was asked for goes to standard output; complaints and what happens meanwhile to standard error. */
#ifndef COMMAND_H
#define COMMAND_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STATUS_FAILED = 1, /* it was asked for something right, and could not do it */
    STATUS_USAGE = 2,  /* it was asked for something wrong */
};

struct command {
    const char *name;
    const char *summary; /* one line, for `raylaunch --help` */
    const char *help;    /* all of `raylaunch COMMAND --help` */
    int (*run)(int argc, char **argv);
};

extern const struct command head_command, worker_command, status_command, list_command, get_command, summary_command,
    logs_command, timeline_command, stop_command, drain_command, worker_process_command;

/* "raylaunch COMMAND: " and the words, as one line on standard error. Returns status. */
int complain(const struct command *command, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
int print_help(const struct command *command); /* on standard output; returns the status */
int printed(void); /* flushes standard output: a full disk or a closed pipe is a failure, too. Returns the status */

/* ---- options.c ---- */

/* The next option: its val, with optarg. 0: there is none; what are no options stand at the end then, from optind.
 * Negative: it was help, or a mistake, and is answered: return *status. */
int next_option(const struct command *command, int argc, char **argv, const struct option *known, int *status);
#define HELP_OPTION                                                                                                    \
    {                                                                                                                  \
        "help", no_argument, NULL, 'h'                                                                                 \
    }

/* Each reads the value of an option (--NAME), or complains and returns false. */
bool read_number(const struct command *command, const char *name, const char *text, uint64_t most, uint64_t *out);
bool read_bytes(const struct command *command, const char *name, const char *text, uint64_t *out); /* "2GiB" */
bool read_seconds(const struct command *command, const char *name, const char *text, int64_t *out_ms);
/* Which of the words it is. */
bool read_choice(const struct command *command, const char *name, const char *text, const char *const *words,
                 size_t *out);
/* Are there as many arguments behind the options as wanted names ("KIND ID")? */
bool check_arguments(const struct command *command, int argc, char **argv, int least, int most, const char *wanted);

#endif
