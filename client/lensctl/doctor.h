/* lensctl doctor: what is missing or slow on this machine and in the running daemon, as findings.
 *
 * A finding has an id that never changes its meaning, a level, what was found and what to do. Checks are functions of
 * facts: files below a root directory (doctor_files.h; "" = this machine, tests give trees of their own) and what the
 * daemon said of itself (struct doctor_daemon, which tests fill in by hand). They read and never change anything, and
 * what can't be read is no finding: this runs as any user, on any kernel.
 *
 * Threads: one thread per report. */
#ifndef LENSCTL_DOCTOR_H
#define LENSCTL_DOCTOR_H

#include "proto/codec.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- findings --------------------------------------------------------------------------------------------------- */

enum doctor_level {
    DOCTOR_OK,      /* as it should be */
    DOCTOR_NOTE,    /* worth knowing; nothing needs to be done */
    DOCTOR_WARNING, /* slower, or nearer to a limit, than it has to be */
    DOCTOR_PROBLEM  /* something doesn't work, or rows are lost: the exit code is 1 */
};

struct doctor_finding {
    const char *id; /* "memory.hugepages"; the part before the dot is its group */
    enum doctor_level level;
    char found[600];
    char advice[600]; /* "" = nothing to do */
};

struct doctor_report {
    struct doctor_finding *findings;
    size_t count, capacity;
    bool no_memory; /* a finding is missing */
};

/* Adds a finding; `id` must live as long as the report (a literal). */
void doctor_find(struct doctor_report *report, const char *id, enum doctor_level level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Says what to do about the finding added last. */
void doctor_advise(struct doctor_report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The worst level found; DOCTOR_OK without any. */
enum doctor_level doctor_worst(const struct doctor_report *report);

/* "ok", "note", "warning", "problem". */
const char *doctor_level_name(enum doctor_level level);

void doctor_report_free(struct doctor_report *report);

/* ---- facts ------------------------------------------------------------------------------------------------------ */

#define DOCTOR_PACKS    16u /* looked at; more are said to be passed over */
#define DOCTOR_SETTINGS 128u

struct doctor_pack {
    char name[256], path[PATH_MAX];
    uint64_t file_bytes, lens_bytes, slot_bytes;
    uint32_t lenses, slots;
};

struct doctor_setting {
    char name[64];
    char *value;
};

/* What a daemon said of itself. Zero = there is none. */
struct doctor_daemon {
    bool running;
    int code;                  /* why it isn't: negative errno of liblens */
    char sentence[512];        /* and in words */
    char socket[108];          /* that was named to lensctl; "" = where liblens looks by itself */
    bool is_operator;          /* this user is one to the daemon */
    struct lens_status status; /* numbers alone; its texts are these: */
    char version[64], backend[32], variant[32], reason[512], degraded[1024], memory[512], metrics[512], config[1024];
    struct lens_statistics statistics;
    struct doctor_pack packs[DOCTOR_PACKS];
    uint32_t n_packs, packs_total;
    struct doctor_setting settings[DOCTOR_SETTINGS];
    uint32_t n_settings;
};

/* A setting's value as `lensctl config` shows it; NULL without a daemon, or one without that setting. */
const char *doctor_setting(const struct doctor_daemon *daemon, const char *name);

/* As a number, of bytes where it has a unit (K, M, G, T); `otherwise` when it is none. */
uint64_t doctor_setting_number(const struct doctor_daemon *daemon, const char *name, uint64_t otherwise);

void doctor_daemon_free(struct doctor_daemon *daemon);

/* Everything that the checks read. */
struct doctor {
    const char *root; /* before each path of the machine's; "" = the machine itself */
    struct doctor_daemon daemon;
    struct doctor_report report;
};

/* The process whose limits count: the daemon where it runs as a process that can be seen from here, else this one. */
const char *doctor_process(const struct doctor *doctor, char out[32]);
bool doctor_sees_daemon(const struct doctor *doctor);
bool doctor_on_card(const struct doctor_daemon *daemon);

/* ---- checks, each file's own ------------------------------------------------------------------------------------- */

void doctor_check_cpu(struct doctor *doctor);     /* doctor_cpu.c: processors, threads, governor, clock */
void doctor_check_isa(struct doctor *doctor);     /* doctor_isa.c: instruction sets */
void doctor_check_memory(struct doctor *doctor);  /* doctor_memory.c: huge pages, free memory, limits, swap */
void doctor_check_card(struct doctor *doctor);    /* doctor_card.c: NVIDIA card, driver, libraries */
void doctor_check_socket(struct doctor *doctor);  /* doctor_socket.c: is a daemon there, and may this user in */
void doctor_check_service(struct doctor *doctor); /* doctor_service.c: versions, degradation, rows, latency, metrics */
void doctor_check_packs(struct doctor *doctor);   /* doctor_packs.c: files of packs */
void doctor_check_cache(struct doctor *doctor);   /* doctor_cache.c: slots, hits, loads, prefetch */

#endif
