/* raylaunch: what a main() of a few lines does, for those who do not want to write one. */
#include "command.h"

#include <ray/ray.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct command *const commands[] = {
    &head_command,  &worker_command,  &status_command,         &list_command,
    &get_command,   &summary_command, &logs_command,           &timeline_command,
    &drain_command, &stop_command,    &worker_process_command,
};

enum { NUM_COMMANDS = sizeof commands / sizeof *commands };

int complain(const struct command *command, int status, const char *format, ...)
{
    char words[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    fprintf(stderr, "raylaunch%s%s: %s\n", command ? " " : "", command ? command->name : "", words);
    return status;
}

int printed(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return complain(NULL, STATUS_FAILED, "cannot write to standard output");
}

int print_help(const struct command *command)
{
    fputs(command->help, stdout);
    return printed();
}

static int print_usage(void)
{
    puts("usage: raylaunch COMMAND [OPTION...]\n"
         "       raylaunch --help | --version | COMMAND --help\n"
         "\n"
         "Starts the nodes of a cluster and looks at it: what of libray needs no program of its own.\n"
         "\n"
         "Commands:");
    for (int i = 0; i < NUM_COMMANDS; i++)
        printf("  %-16s%s\n", commands[i]->name, commands[i]->summary);
    puts("\nExit status: 0 done, 1 it could not be done, 2 wrong usage.");
    return printed();
}

/* The header's version is what raylaunch was built for; the library is found when it starts. */
static int print_version(void)
{
    printf("raylaunch %d.%d.%d, libray %s\n", RAY_VERSION_MAJOR, RAY_VERSION_MINOR, RAY_VERSION_PATCH,
           ray_version_string());
    return printed();
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return complain(NULL, STATUS_USAGE, "expected a command; raylaunch --help lists them");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return print_usage();
    if (strcmp(argv[1], "--version") == 0)
        return print_version();
    for (int i = 0; i < NUM_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i]->name) != 0)
            continue;
        if (commands[i] != &worker_process_command) /* which runs code of others */
            signal(SIGPIPE, SIG_IGN);               /* a reader that has gone is an error like another */
        return commands[i]->run(argc - 1, argv + 1);
    }
    return complain(NULL, STATUS_USAGE, "there is no %s \"%s\"; raylaunch --help lists what there is",
                    argv[1][0] == '-' ? "option" : "command", argv[1]);
}
