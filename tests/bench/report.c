#include "report.h"

#include <math.h>
#include <string.h>

/* A peer's figure: measured, else recorded, else NAN. */
static double peer_value(const struct figure *figure, const struct medians *medians, size_t i)
{
    if (!isnan(medians->peers[i]))
        return medians->peers[i];
    return figure->peers[i].recorded > 0 ? figure->peers[i].recorded : NAN;
}

static const char *peer_label(const struct medians *medians, size_t i)
{
    return isnan(medians->peers[i]) ? " (recorded)" : "";
}

/* 1234567 as "1.23 M". */
static const char *number(char *text, size_t size, double value)
{
    double magnitude = fabs(value);
    if (isnan(value))
        snprintf(text, size, "-");
    else if (magnitude >= 1e9)
        snprintf(text, size, "%.3g G", value / 1e9);
    else if (magnitude >= 999.5e3)
        snprintf(text, size, "%.3g M", value / 1e6);
    else if (magnitude >= 9999.5)
        snprintf(text, size, "%.3g k", value / 1e3);
    else if (magnitude >= 999.5)
        snprintf(text, size, "%.0f", value);
    else
        snprintf(text, size, "%.3g", value);
    return text;
}

#define NUMBER(value) number((char[32]){0}, 32, value)

/* What a target comes to in this run; NAN if what it is a multiple of is not known. *base names that. */
static double reach(const struct figure *figure, const struct medians *medians, const struct target *target,
                    const char **base)
{
    *base = NULL;
    if (target->base == TARGET_VALUE)
        return target->factor;
    if (target->base == TARGET_LIMIT) {
        *base = "limit";
        return target->factor * medians->limit;
    }
    for (size_t i = 0; target->base == TARGET_PEER && i < MAX_PEERS && figure->peers[i].name; i++) {
        if (strcmp(figure->peers[i].name, target->peer) == 0) {
            *base = target->peer;
            return target->factor * peer_value(figure, medians, i);
        }
    }
    return NAN;
}

/* The targets in words; *verdict: "met" if all are, "missed" if one is not. */
static void describe_targets(const struct figure *figure, const struct medians *medians, char *text, size_t size,
                             const char **verdict)
{
    size_t used = 0;
    text[0] = '\0';
    *verdict = "";
    for (size_t i = 0; i < MAX_TARGETS && figure->targets[i].base != TARGET_NONE && used < size; i++) {
        const struct target *target = &figure->targets[i];
        const char *base;
        double bound = reach(figure, medians, target, &base);
        bool met = figure->more ? medians->value >= bound : medians->value <= bound;
        if (!met)
            *verdict = isnan(bound) || isnan(medians->value) ? "?" : "missed";
        else if (!**verdict)
            *verdict = "met";
        used += (size_t)snprintf(text + used, size - used, "%s%s %s", i ? ", " : "",
                                 figure->more ? ">=" : "<=", NUMBER(bound));
        if (base && target->factor != 1 && used < size)
            used += (size_t)snprintf(text + used, size - used, " (%g x %s)", target->factor, base);
    }
}

void report_head(FILE *out)
{
    fprintf(out,
            "value/limit is the plain ratio; xN behind a peer: libray is N times better than it\n\n"
            "%-22s %8s %-5s  %-32s %-6s  %8s %11s  %-27s %s\n",
            "name", "value", "unit", "target", "", "limit", "value/limit", "which limit", "peers");
}

void report_line(FILE *out, const struct figure *figure, const struct medians *medians)
{
    char targets[128];
    const char *verdict;
    describe_targets(figure, medians, targets, sizeof targets, &verdict);
    fprintf(out, "%-22s %8s %-5s  %-32s %-6s  %8s %11s  %-27s ", figure->name, NUMBER(medians->value), figure->unit,
            targets, verdict, NUMBER(medians->limit), NUMBER(medians->value / medians->limit),
            figure->limit_name ? figure->limit_name : "");
    const char *separator = "";
    for (size_t i = 0; i < MAX_PEERS && figure->peers[i].name; i++) {
        double peer = peer_value(figure, medians, i);
        if (isnan(peer))
            continue;
        fprintf(out, "%s%s%s %s x%s", separator, figure->peers[i].name, peer_label(medians, i), NUMBER(peer),
                NUMBER(figure->more ? medians->value / peer : peer / medians->value));
        separator = ", ";
    }
    fputc('\n', out);
    fflush(out);
}

static void json_number(FILE *out, double value)
{
    if (isnan(value))
        fputs("null", out);
    else
        fprintf(out, "%.9g", value);
}

static void json_text(FILE *out, const char *text)
{
    if (text)
        fprintf(out, "\"%s\"", text); /* the table holds nothing to escape */
    else
        fputs("null", out);
}

void report_json_begin(FILE *out)
{
    fputs("{\"results\":[", out);
}

void report_json(FILE *out, const struct figure *figure, const struct medians *medians, bool first)
{
    fprintf(out, "%s\n{\"name\":\"%s\",\"unit\":\"%s\",\"value\":", first ? "" : ",", figure->name, figure->unit);
    json_number(out, medians->value);
    fputs(",\"limit\":", out);
    json_number(out, medians->limit);
    fputs(",\"limit_name\":", out);
    json_text(out, figure->limit_name);
    fputs(",\"peers\":{", out);
    const char *separator = "";
    for (size_t i = 0; i < MAX_PEERS && figure->peers[i].name; i++) {
        double peer = peer_value(figure, medians, i);
        if (isnan(peer))
            continue;
        fprintf(out, "%s\"%s%s\":", separator, figure->peers[i].name, peer_label(medians, i));
        json_number(out, peer);
        separator = ",";
    }
    fputs("}}", out);
}

void report_json_end(FILE *out)
{
    fputs("\n]}\n", out);
}
