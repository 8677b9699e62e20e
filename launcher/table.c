/* JSON as people read it. */
#include "observe.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_value(FILE *out, json_t *value, bool inside)
{
    const char *key;
    json_t *part;
    size_t i;
    switch (json_typeof(value)) {
    case JSON_OBJECT: {
        const char *between = inside ? "{" : "";
        json_object_foreach(value, key, part)
        {
            fprintf(out, "%s%s: ", between, key);
            add_value(out, part, true);
            between = ", ";
        }
        fputs(inside ? "}" : "", out);
        return;
    }
    case JSON_ARRAY:
        json_array_foreach(value, i, part)
        {
            fputs(i > 0 ? ", " : "", out);
            add_value(out, part, true);
        }
        return;
    case JSON_STRING: /* what would break the line is not shown as it is */
        for (const char *c = json_string_value(value); *c; c++)
            fputc(iscntrl((unsigned char)*c) ? '?' : *c, out);
        return;
    case JSON_INTEGER:
        fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return;
    case JSON_REAL:
        fprintf(out, "%.15g", json_real_value(value));
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        fputs(json_is_true(value) ? "true" : "false", out);
        return;
    case JSON_NULL:
        fputs("-", out);
        return;
    }
}

char *print_value(json_t *value)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    if (value)
        add_value(out, value, false);
    else
        fputs("-", out);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

/* Characters, of which some have more bytes. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void print_cell(const char *text, size_t width, bool is_last)
{
    fputs(text, stdout);
    for (size_t done = width_of(text); !is_last && done < width + 2; done++)
        putchar(' ');
}

static size_t find_width(json_t *rows, const char *key)
{
    size_t width = width_of(key), i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        char *text = print_value(json_object_get(row, key));
        if (text && width_of(text) > width)
            width = width_of(text);
        free(text);
    }
    return width;
}

static void print_heading(const char *key, size_t width, bool is_last)
{
    char words[128];
    snprintf(words, sizeof words, "%s", key);
    for (char *c = words; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    print_cell(words, width, is_last);
}

/* The columns are what the first row has. */
void print_table(json_t *rows)
{
    enum { COLUMNS_MAX = 32 };
    json_t *first = json_array_get(rows, 0), *row, *value;
    size_t widths[COLUMNS_MAX], count = 0, i;
    const char *key;
    json_object_foreach(first, key, value)
    {
        if (count < COLUMNS_MAX)
            widths[count++] = find_width(rows, key);
    }
    i = 0;
    json_object_foreach(first, key, value)
    {
        if (i < count)
            print_heading(key, widths[i], i + 1 == count);
        i++;
    }
    if (count > 0)
        putchar('\n');
    size_t nth;
    json_array_foreach(rows, nth, row)
    {
        i = 0;
        json_object_foreach(first, key, value)
        {
            char *text = i < count ? print_value(json_object_get(row, key)) : NULL;
            if (text)
                print_cell(*text ? text : "-", widths[i], i + 1 == count);
            free(text);
            i++;
        }
        putchar('\n');
    }
}

void print_object(json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        char *text = print_value(value);
        printf("%s: %s\n", key, text ? text : "?");
        free(text);
    }
}

void print_json(json_t *value)
{
    (void)json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
}
