/* The daemon's own figures: what it says through lensctl, and what the kernel says of its memory; see soak.h. */
#include "tests/soak/soak.h"

#include "tests/bench/support/ask.h"

#include <stdio.h>

static double resident_bytes(pid_t pid)
{
    char path[64], line[256];
    unsigned long long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        bench_die("%s can't be read: lensd is gone", path);
    while (fgets(line, sizeof line, file) && sscanf(line, "Rss: %llu kB", &kib) != 1)
        ;
    fclose(file);
    if (kib == 0)
        bench_die("%s doesn't say how much memory is resident", path);
    return (double)kib * 1024;
}

void soak_watch(pid_t daemon, const char *socket, struct soak_figures *out)
{
    json_t *status = bench_ask(socket, "status", NULL), *totals = bench_ask(socket, "latency", NULL);
    *out = (struct soak_figures){
        .rss = resident_bytes(daemon),
        .heap = bench_asked(status, "heap_bytes"),
        .sessions = bench_asked(status, "sessions"),
        .resident = bench_asked(status, "resident"),
        .slots = bench_asked(status, "slots"),
        .rows = bench_asked(totals, "rows"),
        .dropped = bench_asked(totals, "dropped_rows"),
        .invalid = bench_asked(totals, "invalid_rows"),
        .partial = bench_asked(totals, "partial_rows"),
        .scored = bench_asked(totals, "lenses_scored"),
        .slot_hits = bench_asked(totals, "slot_hits"),
        .host_hits = bench_asked(totals, "host_hits"),
        .cold = bench_asked(totals, "cold"),
        .loads = bench_asked(status, "loads"),
        .evictions = bench_asked(status, "evictions"),
    };
    json_decref(status);
    json_decref(totals);
}
