/* The figures that the bench reports: where each is measured, what it should reach, what it stands beside. */
#ifndef FIGURES_H
#define FIGURES_H
#include <stdbool.h>
#include <stddef.h>

enum { MAX_PEERS = 4, MAX_TARGETS = 2 };

/* What a figure is compared with. Figures of reference/peers.md were recorded on another machine, unless a program
   measures them beside libray. */
struct peer_figure {
    const char *name;
    double recorded;     /* 0: never */
    const char *program; /* that measures it, under the figure's own measure and name; NULL: none */
};

enum target_base { TARGET_NONE, TARGET_VALUE, TARGET_LIMIT, TARGET_PEER };
struct target {
    enum target_base base;
    double factor;    /* of the base */
    const char *peer; /* its name */
};

struct figure {
    const char *name, *unit;
    bool more;           /* more is better */
    const char *measure; /* of bench_ray, or of program; figures of one measure stand together */
    struct target targets[MAX_TARGETS];
    const char *limit_measure, *limit_series, *limit_name; /* of bench_machine; NULL: nothing limits it */
    struct peer_figure peers[MAX_PEERS];
    const char *program; /* NULL: bench_ray */
    bool once;           /* it takes seconds: measured once, not warmed up; of all figures of the measure */
};

extern const struct figure figures[];
extern const size_t num_figures;
#endif
