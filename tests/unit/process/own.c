/* Tells how it would be started again; with "go" its file is deleted before. */
#include "process/process.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char path[4096] = "", **command;
    if (argc > 1 && strcmp(argv[1], "go") == 0 &&
        (readlink("/proc/self/exe", path, sizeof path - 1) < 0 || unlink(path)))
        return 1;
    if (rayi_process_own_command(&command) < 0)
        return 2;
    for (char **at = command; *at; at++)
        printf("[%s] ", *at);
    puts("");
    rayi_free(command);
    return 0;
}
