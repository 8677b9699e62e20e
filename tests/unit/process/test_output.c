/* Output: lines, cuts, files, last words, what is too much, what several print. */
#include "helper.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void expect_lines(const char *const *expected, size_t count, int64_t pid)
{
    for (size_t i = 0; i < count && i < num_lines; i++) {
        char line[512];
        snprintf(line, sizeof line, "(worker pid=%lld) %s", (long long)pid, expected[i]);
        cr_assert_str_eq(lines[i], line, "line %zu: '%s', not '%s'", i, lines[i], line);
    }
    cr_assert_eq(num_lines, count);
}

static void check_print(const char *printed, const char *const *expected, size_t count)
{
    started child = {0};
    forget_lines();
    START(&child, "print", printed);
    wait_end(&child);
    expect_lines(expected, count, rayi_process_pid(child.process));
    finish(&child);
}

#define PRINTS(printed, ...)                                                                                           \
    check_print(printed, (const char *const[]){__VA_ARGS__},                                                           \
                sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

LOOP_TEST(output, lines)
{
    listen_to_log();
    PRINTS("one\ntwo\n", "one", "two");
    PRINTS("one\r\ntwo\r\n\r\n", "one", "two", "");
    PRINTS("a\n\nb", "a", "", "b");
    PRINTS("no end", "no end");
    PRINTS("a\rb\n", "a\rb");
    PRINTS("gr\xc3\xbc\xc3\x9f\n", "gr\xc3\xbc\xc3\x9f");
    PRINTS("\xff\xc3\n\xe2\x82\n", "??", "??");
}

LOOP_TEST(output, a_line_in_pieces)
{
    started child = {0};
    listen_to_log();
    START(&child, "trickle", "gr\xc3\xbc\xc3\x9f\r\n\n\r\nab\xe2\x82\xac\nend");
    wait_end(&child);
    expect_lines((const char *const[]){"gr\xc3\xbc\xc3\x9f", "", "", "ab\xe2\x82\xac", "end"}, 5,
                 rayi_process_pid(child.process));
    finish(&child);
}

LOOP_TEST(output, what_is_no_character)
{
    const char *const pairs[][2] = {{"a\xc0\x80", "a??"},
                                    {"\xc1\xbf.", "??."},
                                    {"\xe0\x80\x80", "???"},
                                    {"\xe0\xa0\x80", "\xe0\xa0\x80"},
                                    {"\xed\xa0\x80", "???"},
                                    {"\xed\x9f\xbf", "\xed\x9f\xbf"},
                                    {"\xf0\x8f\xbf\xbf", "????"},
                                    {"\xf0\x90\x80\x80", "\xf0\x90\x80\x80"},
                                    {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
                                    {"\xf4\x90\x80\x80", "????"},
                                    {"\xf5\x80\x80\x80", "????"},
                                    {"\x80\xbf\xff", "???"},
                                    {"\xe2\x82", "??"},
                                    {"\xe2\x28\xa1", "?(?"},
                                    {"\xc3\xbc\xc3", "\xc3\xbc?"}};
    char text[16] = "a\0b";
    rayi_process_clean(text, 3);
    cr_assert_str_eq(text, "a?b");
    for (size_t i = 0; i < RAYI_COUNT_OF(pairs); i++) {
        strcpy(text, pairs[i][0]);
        rayi_process_clean(text, strlen(text));
        cr_assert_str_eq(text, pairs[i][1], "pair %zu", i);
    }
    cr_assert_eq(rayi_process_whole("ab\xe2\x82\xac", 5), 5);
    cr_assert_eq(rayi_process_whole("ab\xe2\x82\xac", 4), 2);
    cr_assert_eq(rayi_process_whole("ab\xe2\x82\xac", 3), 2);
    cr_assert_eq(rayi_process_whole("ab\xe2\x82\xac", 2), 2);
    cr_assert_eq(rayi_process_whole("\x82\x82\x82\x82", 4), 4, "what is no text is cut anywhere");
    cr_assert_eq(rayi_process_whole("", 0), 0);
}

/* All that was in the pipe at the end, however much it holds. */
LOOP_TEST(output, a_large_pipe)
{
    started child = {0};
    char name[64], *folder = make_folder();
    rayi_process_options options = options_of(&child, (const char *const[]){CHILD, "burst", "300000", NULL});
    options.log_path = folder;
    start(&child, &options);
    while (rayi_process_state(child.process) != 'Z') /* the loop does not run */
        usleep(1000);
    wait_end(&child);
    snprintf(name, sizeof name, "worker-%lld.out", (long long)rayi_process_pid(child.process));
    cr_assert_eq(file_size(folder, name), 300000);
    finish(&child);
    remove_folder(folder);
}

LOOP_TEST(output, silent_without_a_listener)
{
    started child = {0};
    RUN(&child, "lines", "1000");
    cr_assert_eq(child.end.exit_code, 0);
    cr_assert_eq(num_lines, 0);
}

static size_t text_of(const char *line)
{
    return strlen(strchr(line, ')') + 2);
}

LOOP_TEST(output, a_long_line_is_cut)
{
    started child = {0};
    listen_to_log();
    START(&child, "long", "8192");
    wait_end(&child);
    cr_assert_eq(num_lines, 1);
    cr_assert_eq(text_of(lines[0]), 8192);
    finish(&child);
    forget_lines();
    START(&child, "long", "1048576");
    wait_end(&child);
    cr_assert_eq(num_lines, 128);
    for (size_t i = 0, at = 0; i < num_lines; i++) {
        const char *text = strchr(lines[i], ')') + 2;
        cr_assert_eq(strlen(text), 8192);
        for (; *text; text++, at++)
            cr_assert_eq(*text, 'a' + (int)(at % 26));
    }
    finish(&child);
}

LOOP_TEST(output, a_cut_leaves_no_empty_line)
{
    char printed[RAYI_PROCESS_LINE_MAX + 3], expected[RAYI_PROCESS_LINE_MAX + 1];
    memset(printed, 'x', sizeof printed);
    strcpy(printed + RAYI_PROCESS_LINE_MAX, "\r\n");
    memset(expected, 'x', sizeof expected);
    expected[RAYI_PROCESS_LINE_MAX] = 0;
    started child = {0};
    listen_to_log();
    START(&child, "print", printed, "\nnext\n");
    wait_end(&child);
    cr_assert_eq(num_lines, 3);
    cr_assert_str_eq(strchr(lines[0], ')') + 2, expected);
    cr_assert_str_eq(strchr(lines[1], ')') + 2, "");
    cr_assert_str_eq(strchr(lines[2], ')') + 2, "next");
    finish(&child);
}

LOOP_TEST(output, a_cut_keeps_characters_whole)
{
    started child = {0};
    char printed[3 * 3000 + 2];
    size_t total = 0;
    for (size_t i = 0; i < 3000; i++)
        memcpy(printed + 3 * i, "\xe2\x82\xac", 3);
    strcpy(printed + 9000, "\n");
    listen_to_log();
    START(&child, "print", printed);
    wait_end(&child);
    cr_assert_eq(num_lines, 2);
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(text_of(lines[i]) % 3, 0);
        cr_assert_null(strchr(lines[i], '?'));
        total += text_of(lines[i]);
    }
    cr_assert_eq(total, 9000);
    finish(&child);
}

LOOP_TEST(output, closes_stdout_and_goes_on)
{
    started child = {0};
    char words[64];
    listen_to_log();
    START(&child, "close");
    wait_end(&child);
    cr_assert_eq(child.end.exit_code, 5);
    cr_assert(logged("closing") && logged("still here"));
    cr_assert_eq(rayi_process_last_words(child.process, words, sizeof words), strlen("still here"));
    cr_assert_str_eq(words, "still here");
    finish(&child);
}

/* --- too much ----------------------------------------------------------------------------------------------------- */

static size_t dropped(void)
{
    size_t count = 0;
    for (size_t i = 0; i < num_lines; i++) {
        const char *at = strstr(lines[i], ") \xe2\x80\xa6 ");
        count += at ? strtoull(at + strlen(") \xe2\x80\xa6 "), NULL, 10) : 0;
    }
    return count;
}

LOOP_TEST(output, a_flood)
{
    started child = {0};
    char name[64], *folder = make_folder(), file[128];
    listen_to_log();
    rayi_process_options options = options_of(&child, (const char *const[]){CHILD, "lines", "100000", NULL});
    options.log_path = folder;
    start(&child, &options);
    wait_end(&child);
    size_t notices = times_logged(" more lines, see "), shown = num_lines - notices;
    int64_t span_ms = (child.ended_ns - child.started_ns) / 1000000;
    cr_assert_geq(shown, 1000);
    cr_assert_leq(shown, 1000 + (size_t)span_ms / 5 + 20);
    cr_assert_eq(shown + dropped(), 100000, "%zu shown, %zu dropped", shown, dropped());
    cr_assert_leq(notices, 1 + (size_t)span_ms / 1000);
    snprintf(file, sizeof file, "see %s/worker-%lld.out", folder, (long long)rayi_process_pid(child.process));
    cr_assert(logged(file), "%s", lines[num_lines - 1]);
    snprintf(name, sizeof name, "worker-%lld.out", (long long)rayi_process_pid(child.process));
    cr_assert_eq(file_size(folder, name), 1088890 - RAYI_PROCESS_FILE_MAX);
    strcat(name, ".1");
    cr_assert_eq(file_size(folder, name), RAYI_PROCESS_FILE_MAX);
    finish(&child);
    remove_folder(folder);
}

LOOP_TEST(output, what_was_dropped_is_told_while_it_lives)
{
    started child = {0};
    listen_to_log();
    rayi_process_options options =
        options_of(&child, (const char *const[]){"sh", "-c", CHILD " lines 3000; exec " CHILD " sleep", NULL});
    start(&child, &options);
    wait_for_line(" more lines");
    cr_assert_eq(times_logged(" more lines"), 1);
    cr_assert_not(logged("more lines, see"), "there is no file");
    cr_assert_eq(num_lines - 1 + dropped(), 3000);
    run_for(100);
    finish(&child);
    cr_assert_eq(times_logged(" more lines"), 1, "it is told once");
}

static bool two_thousand_are_read(void *arg)
{
    const started *child = arg;
    return num_lines - times_logged(" more lines") + dropped() + child->process->streams[0].num_dropped >= 2000;
}

LOOP_TEST(output, credit_comes_back)
{
    started child = {0};
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    listen_to_log();
    rayi_process_options options =
        options_of(&child, (const char *const[]){"sh", "-c", CHILD " lines 2000; read x <&3; seq 10001 10060", NULL});
    options.fds = pipes;
    options.num_fds = 1;
    start(&child, &options);
    cr_assert(run_until(two_thousand_are_read, &child, 20000));
    run_for(600);
    cr_assert_eq(write(pipes[1], "\n", 1), 1);
    wait_end(&child);
    cr_assert_eq(times_logged(") 100"), 60);
    finish(&child);
    close(pipes[0]);
    close(pipes[1]);
}

/* --- files -------------------------------------------------------------------------------------------------------- */

LOOP_TEST(output, files_are_bounded)
{
    started child = {0};
    char name[64], *folder = make_folder();
    rayi_process_options options = options_of(&child, (const char *const[]){CHILD, "long", "5000000", NULL});
    options.log_path = folder;
    start(&child, &options);
    wait_end(&child);
    snprintf(name, sizeof name, "worker-%lld.out", (long long)rayi_process_pid(child.process));
    cr_assert_eq(file_size(folder, name), 5000001 % RAYI_PROCESS_FILE_MAX);
    strcat(name, ".1");
    cr_assert_eq(file_size(folder, name), RAYI_PROCESS_FILE_MAX);
    finish(&child);
    remove_folder(folder);
}

LOOP_TEST(output, files_of_both_streams)
{
    started child = {0};
    char name[64], path[128], text[64] = "", *folder = make_folder();
    rayi_process_options options =
        options_of(&child, (const char *const[]){"sh", "-c", "echo out; echo err >&2; printf more", NULL});
    options.log_path = folder;
    start(&child, &options);
    wait_end(&child);
    snprintf(name, sizeof name, "worker-%lld.err", (long long)rayi_process_pid(child.process));
    cr_assert_eq(file_size(folder, name), 4);
    snprintf(path, sizeof path, "%s/worker-%lld.out", folder, (long long)rayi_process_pid(child.process));
    int fd = open(path, O_RDONLY);
    cr_assert_eq(read(fd, text, sizeof text), 8);
    close(fd);
    cr_assert_str_eq(text, "out\nmore");
    finish(&child);
    RUN(&child, "lines", "1"); /* a folder that is not there is no reason to fail */
    options.log_path = "/no/such/folder";
    start(&child, &options);
    wait_end(&child);
    cr_assert_eq(child.end.exit_code, 0);
    finish(&child);
    remove_folder(folder);
}

/* Pids come again: what an earlier process with this one printed stays, as far as the file goes. */
LOOP_TEST(output, a_file_that_is_there)
{
    started child = {0};
    char name[64], path[128], *folder = make_folder();
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    rayi_process_options options =
        options_of(&child, (const char *const[]){"sh", "-c", "read x <&3; echo hello", NULL});
    options.fds = pipes;
    options.num_fds = 1;
    options.log_path = folder;
    start(&child, &options);
    snprintf(name, sizeof name, "worker-%lld.out", (long long)rayi_process_pid(child.process));
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(ftruncate(fd, RAYI_PROCESS_FILE_MAX - 2), 0);
    close(fd);
    cr_assert_eq(write(pipes[1], "\n", 1), 1);
    wait_end(&child);
    cr_assert_eq(file_size(folder, name), 4);
    strcat(name, ".1");
    cr_assert_eq(file_size(folder, name), RAYI_PROCESS_FILE_MAX);
    finish(&child);
    close(pipes[0]);
    close(pipes[1]);
    remove_folder(folder);
}

/* --- last words --------------------------------------------------------------------------------------------------- */

LOOP_TEST(output, last_words)
{
    started child = {0};
    char words[4096], small[6];
    START(&child, "complain", "first", "gr\xc3\xbc\xc3\x9f\r", "last");
    wait_end(&child);
    cr_assert_eq(rayi_process_last_words(child.process, words, sizeof words),
                 strlen("first\ngr\xc3\xbc\xc3\x9f\nlast"));
    cr_assert_str_eq(words, "first\ngr\xc3\xbc\xc3\x9f\nlast");
    cr_assert_eq(rayi_process_last_words(child.process, small, sizeof small), 5);
    cr_assert_str_eq(small, "\nlast");
    cr_assert_eq(rayi_process_last_words(child.process, words, 7), 5, "half a character is none");
    cr_assert_str_eq(words, "\nlast");
    cr_assert_eq(rayi_process_last_words(child.process, words, 1), 0);
    cr_assert_eq(rayi_process_last_words(child.process, words, 0), 0);
    finish(&child);
    START(&child, "exit", "0");
    wait_end(&child);
    cr_assert_eq(rayi_process_last_words(child.process, words, sizeof words), 0);
    cr_assert_str_eq(words, "");
    finish(&child);
}

LOOP_TEST(output, last_words_are_the_last)
{
    started child = {0};
    char words[4096];
    rayi_process_options options = options_of(&child, (const char *const[]){"sh", "-c", CHILD " lines 5000 >&2", NULL});
    start(&child, &options);
    wait_end(&child);
    rayi_process_last_words(child.process, words, sizeof words);
    cr_assert_eq(strncmp(words, "line 4980\n", 10), 0, "%s", words);
    cr_assert_str_eq(words + strlen(words) - 9, "line 4999");
    finish(&child);
    options.command = (const char *const[]){"sh", "-c", CHILD " long 9000 >&2; echo end >&2", NULL};
    start(&child, &options);
    wait_end(&child);
    rayi_process_last_words(child.process, words, sizeof words);
    cr_assert_str_eq(words, "end", "a line without its beginning is left out");
    finish(&child);
    options.command = (const char *const[]){"sh", "-c", "printf '%03000d\\nlast\\n' 0 >&2", NULL};
    start(&child, &options);
    wait_end(&child);
    rayi_process_last_words(child.process, words, sizeof words);
    cr_assert_str_eq(words, "last", "nor at one go");
    finish(&child);
    options.command = (const char *const[]){"sh", "-c", CHILD " long 9000 >&2", NULL};
    start(&child, &options);
    wait_end(&child);
    cr_assert_eq(rayi_process_last_words(child.process, words, sizeof words), RAYI_PROCESS_TAIL_MAX - 1);
    finish(&child);
}

LOOP_TEST(output, last_words_of_the_living)
{
    started child = {0};
    char words[64] = "";
    rayi_process_options options =
        options_of(&child, (const char *const[]){"sh", "-c", "echo here >&2; sleep 60", NULL});
    start(&child, &options);
    for (int64_t end = rayi_now_ms() + 20000; !*words && rayi_now_ms() < end;) {
        usleep(2000); /* the loop does not run: it reads by itself */
        rayi_process_last_words(child.process, words, sizeof words);
    }
    cr_assert_str_eq(words, "here");
    finish(&child);
}

/* --- labels ------------------------------------------------------------------------------------------------------- */

static void *relabel(void *arg)
{
    char name[32];
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "task%d", i);
        rayi_process_label(arg, name);
    }
    return NULL;
}

LOOP_TEST(output, label)
{
    started child = {0};
    pthread_t thread;
    char longest[300];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    memcpy(longest + 125, "\xe2\x82\xac", 3); /* the cut falls into it */
    listen_to_log();
    rayi_process_options options =
        options_of(&child, (const char *const[]){"sh", "-c", "echo one; read x < /dev/fd/3; echo two", NULL});
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    options.fds = pipes;
    options.num_fds = 1;
    options.label = "idle";
    start(&child, &options);
    wait_for_line("one");
    cr_assert(logged("(idle pid="));
    cr_assert_eq(pthread_create(&thread, NULL, relabel, child.process), 0);
    run_for(20);
    pthread_join(thread, NULL);
    rayi_process_label(child.process, longest);
    cr_assert_eq(write(pipes[1], "\n", 1), 1);
    wait_end(&child);
    longest[125] = 0;
    char expected[400];
    snprintf(expected, sizeof expected, "(%s pid=%lld) two", longest, (long long)rayi_process_pid(child.process));
    cr_assert(logged(expected), "%s", lines[num_lines - 1]);
    finish(&child);
}

/* --- what several print ------------------------------------------------------------------------------------------- */

static rayi_process_outlet *outlet;

static void print(started *child, const char *text)
{
    rayi_process_options options = options_of(child, (const char *const[]){CHILD, "print", text, NULL});
    options.outlet = outlet;
    start(child, &options);
    wait_end(child);
    finish(child);
}

typedef struct awaited {
    size_t count;
    int64_t before_ms; /* there were fewer lines then */
} awaited;

static bool are_there(void *arg)
{
    awaited *self = arg;
    if (num_lines < self->count)
        self->before_ms = rayi_now_ms();
    return num_lines >= self->count;
}

/* False: a step took so long that the next one could miss its window. */
static bool check_repeats(int64_t window_ms)
{
    started child = {0};
    int64_t begin_ms = rayi_now_ms();
    awaited second = {.count = 2}, third = {.count = 3};
    for (int i = 0; i < 8; i++) {
        char text[64];
        snprintf(text, sizeof text, "loaded %d of 0x%xf files in %d.%d s\n", i, 0xa0 + i, i, i);
        print(&child, text);
    }
    if (rayi_now_ms() - begin_ms > window_ms / 2)
        return false;
    cr_assert_eq(num_lines, 1, "%zu lines", num_lines);
    if (!run_until(are_there, &second, begin_ms + window_ms * 7 / 4 - rayi_now_ms()))
        return false;
    cr_assert_eq(num_lines, 2);
    cr_assert(strstr(lines[1], "loaded 7 of 0xa7f files in 7.7 s [repeated 7x across workers]"), "%s", lines[1]);
    print(&child, "loaded 9 of 0x1 files in 1.1 s\n"); /* the pattern is kept for another window */
    if (rayi_now_ms() - second.before_ms > window_ms / 2)
        return false;
    cr_assert_eq(num_lines, 2);
    if (!run_until(are_there, &third, second.before_ms + window_ms * 7 / 4 - rayi_now_ms()))
        return false;
    cr_assert_eq(num_lines, 3, "one repeat is told as it is");
    cr_assert(strstr(lines[2], "loaded 9 of 0x1 files in 1.1 s") && !strstr(lines[2], "repeated"));
    print(&child, "loaded 1 of 0x1 files in 1.1 s\n"); /* and forgotten then */
    cr_assert_eq(num_lines, 4);
    return true;
}

/* Where others have the CPU a longer window is tried. */
LOOP_TEST(output, the_same_line_of_several_is_told_once)
{
    bool in_time = false;
    listen_to_log();
    for (int64_t window_ms = 600; window_ms <= 9600 && !in_time; window_ms *= 2) {
        forget_lines();
        CHECK_OK(rayi_process_outlet_open(&loop, "node", window_ms, &outlet));
        in_time = check_repeats(window_ms);
        rayi_process_outlet_close(outlet);
    }
    cr_assert(in_time, "no window is long enough");
}

LOOP_TEST(output, one_process_may_repeat_itself)
{
    started child = {0};
    listen_to_log();
    CHECK_OK(rayi_process_outlet_open(&loop, NULL, 60000, &outlet));
    print(&child, "step\nstep\nstep\n1\n2\n3\n");
    cr_assert_eq(num_lines, 6);
    print(&child, "step\nother\n1\n2\n"); /* numbers alone are no pattern */
    cr_assert_eq(num_lines, 9);
    rayi_process_outlet_close(outlet); /* tells what is pending */
    cr_assert_eq(num_lines, 10);
    cr_assert(strstr(lines[9], "step") && !strstr(lines[9], "repeated"));
}

LOOP_TEST(output, deduplication_can_be_off)
{
    started child = {0};
    listen_to_log();
    setenv("RAY_DEDUP_LOGS", "0", 1);
    for (int64_t window = -1; window <= 0; window++) {
        forget_lines();
        CHECK_OK(rayi_process_outlet_open(&loop, NULL, window, &outlet));
        print(&child, "same\n");
        print(&child, "same\n");
        cr_assert_eq(num_lines, 2);
        rayi_process_outlet_close(outlet);
    }
}

LOOP_TEST(output, many_patterns)
{
    started child = {0};
    char text[26 * 26 * 4 + 1] = "";
    for (int i = 0; i < 26 * 26; i++)
        snprintf(text + 4 * i, 5, "%c%cx\n", 'a' + i / 26, 'a' + i % 26);
    listen_to_log();
    CHECK_OK(rayi_process_outlet_open(&loop, NULL, 60000, &outlet));
    print(&child, text);
    cr_assert_eq(num_lines, 26 * 26);
    print(&child, "zzx\nzyx\nzzx\naax\n"); /* the oldest was forgotten */
    cr_assert_eq(num_lines, 26 * 26 + 1);
    rayi_process_outlet_close(outlet);
    cr_assert_eq(num_lines, 26 * 26 + 3);
    cr_assert(logged("zzx [repeated 2x across workers]"));
}
