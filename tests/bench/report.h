/* The medians of a figure, as a line of the table and as an entry of the JSON. */
#ifndef REPORT_H
#define REPORT_H
#include "figures.h"

#include <stdio.h>

/* NAN is a value that was not measured. */
struct medians {
    double value, limit, peers[MAX_PEERS]; /* in the order of the figure's */
};

void report_head(FILE *out);
void report_line(FILE *out, const struct figure *figure, const struct medians *medians);
/* One document: begin, each figure, end. */
void report_json_begin(FILE *out);
void report_json(FILE *out, const struct figure *figure, const struct medians *medians, bool first);
void report_json_end(FILE *out);
#endif
