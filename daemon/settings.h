/* The daemon's settings: one declarative row each (settings_table.c), read from flags, environment and file.
 *
 * Flags win over the environment, the environment over the file, the file over defaults; every value remembers where
 * it came from. A setting `[pool] slots` of the file is --pool-slots as a flag and LENSD_POOL_SLOTS in the
 * environment. Unknown names and values out of bounds are errors that name the place and the nearest known name:
 * nothing is ignored. Threads: the loop thread's; read only once the daemon runs, but for a reload. */
#ifndef LENSD_SETTINGS_H
#define LENSD_SETTINGS_H

#include "proto/codec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LENSD_SETTINGS_MAX 64u        /* rows; a static assertion holds the table to it */
#define LENSD_SESSIONS_MAX 4096u      /* the most that ipc.max_sessions may be */
#define LENSD_IDS_MAX      64u        /* user or group ids in one list */
#define LENSD_PACKS_MAX    16u        /* packs served at once */
#define LENSD_FILE_MAX     (1u << 20) /* bytes of a configuration file */

/* How a value is written, and its C type in struct lensd_settings. */
enum lensd_setting_type {
    LENSD_SETTING_BOOL,    /* bool: on, off (or yes, no, true, false, 1, 0) */
    LENSD_SETTING_COUNT,   /* uint32_t */
    LENSD_SETTING_INTEGER, /* int32_t */
    LENSD_SETTING_NUMBER,  /* float */
    LENSD_SETTING_SIZE,    /* uint64_t, bytes: 256M, 4K, 1.. */
    LENSD_SETTING_CHOICE,  /* int or enum: index into choices */
    LENSD_SETTING_LAYERS,  /* uint64_t, one bit a layer: "0,1" */
    LENSD_SETTING_IDS,     /* struct lensd_ids: "0,self,1000" or "*" */
    LENSD_SETTING_TEXT,    /* const char *, owned by the settings */
    LENSD_SETTING_LIST,    /* const char *, likewise: items between commas; further lines of a file go behind it */
};

/* What a reload (SIGHUP) changes a setting for. */
enum lensd_setting_applies {
    LENSD_APPLIES_RESTART,  /* nothing: the value waits for the next start */
    LENSD_APPLIES_NOW,      /* everything */
    LENSD_APPLIES_SESSIONS, /* sessions attached from then on */
    LENSD_APPLIES_PACKS,    /* packs loaded or swapped from then on */
};

enum lensd_origin { LENSD_ORIGIN_DEFAULT, LENSD_ORIGIN_FILE, LENSD_ORIGIN_ENVIRONMENT, LENSD_ORIGIN_FLAG };

/* User or group ids; "self" became the daemon's own (user or group, by the list) when it was read. */
struct lensd_ids {
    bool any; /* "*" */
    uint32_t n;
    uint32_t ids[LENSD_IDS_MAX];
};

/* One row of the table. */
struct lensd_setting {
    const char *key; /* "pool.slots" */
    enum lensd_setting_type type;
    const char *fallback; /* default, as a user would write it */
    double min, max;      /* COUNT, INTEGER, NUMBER, SIZE; IDS: max = 0 forbids "*"; TEXT, LIST: max bytes */
    const char *const *choices;
    size_t offset; /* in struct lensd_settings */
    enum lensd_setting_applies applies;
    int (*check)(const char *text, struct lens_error *err); /* what its type doesn't say, or NULL; -EINVAL */
    const char *value_name;                                 /* for --help: "N", "BYTES", .. */
    const char *help;
};
extern const struct lensd_setting lensd_settings_table[];
extern const uint32_t lensd_settings_count;

enum lensd_cpu_variant { LENSD_CPU_AUTO, LENSD_CPU_SCALAR, LENSD_CPU_AVX2, LENSD_CPU_AVX512 };

/* All values, typed. What each means is said in its row. */
struct lensd_settings {
    struct {
        uint32_t slots;
        int dtype;   /* 0 = the pack's own, else 1 + index of f32, bf16, int8, log8, fp8 */
        int compute; /* enum lens_compute */
        uint64_t device_memory;
        bool preload;
    } pool;
    struct {
        int policy; /* enum lensd_cache_kind */
        const char *quotas;
        uint64_t host_memory;
        bool prefetch, verify_loads;
        uint32_t load_threads;
    } cache;
    struct lens_cascade_options cascade;
    struct {
        const char *pin, *include, *exclude, *filter; /* content.h */
    } content;                                        /* the settings cascade.pin, .. */
    struct {
        bool degrade;
        uint32_t threads, spin_us, max_batch_rows, drain_ms;
        int cpu_variant; /* enum lensd_cpu_variant */
        const char *cuda_library;
        uint32_t device;
    } engine;
    struct {
        const char *listen;
    } http;
    struct {
        uint32_t events;
        const char *watch;
    } telemetry;
    struct {
        const char *rules; /* rules.h */
    } alerts;
    struct {
        const char *socket;
        struct lensd_ids allow_uids, allow_gids, admin_uids;
        uint32_t max_sessions, max_connections;
        uint64_t session_memory, total_memory;
    } ipc;
    struct {
        const char *serve, *directories;
        bool verify;
    } packs;
    struct {
        int level;
    } log;
    /* Beside the typed value: its text as given (owned), its origin, and the line of the file it came from. */
    char *text[LENSD_SETTINGS_MAX];
    enum lensd_origin origin[LENSD_SETTINGS_MAX];
    uint32_t line[LENSD_SETTINGS_MAX];
    const char *file; /* lent: the path of the file that was read, or NULL */
    /* What reloads left: a value that waits for a restart (owned, NULL = none); for settings of packs, the youngest
     * generation that still has another value than the one here, 0 = none. */
    char *pending[LENSD_SETTINGS_MAX];
    uint32_t older[LENSD_SETTINGS_MAX];
};

/* Everything at its default. -ENOMEM. On error nothing is left; otherwise lensd_settings_free is owed. */
int lensd_settings_init(struct lensd_settings *settings, struct lens_error *err);
void lensd_settings_free(struct lensd_settings *settings);

/* Reads the file, the environment ("NAME=value" strings, NULL at the end). -EINVAL with a sentence that names the
 * line or variable. A setting that already came from a stronger origin keeps its value, but the weaker one is
 * checked all the same. */
int lensd_settings_read_file(struct lensd_settings *settings, const char *path, struct lens_error *err);
int lensd_settings_read_environment(struct lensd_settings *settings, char *const *environment, struct lens_error *err);

/* Sets one row from text. -EINVAL with a sentence naming the setting, what was expected and what was found. */
int lensd_settings_set(struct lensd_settings *settings, uint32_t row, const char *text, enum lensd_origin origin,
                       struct lens_error *err);

/* What only holds between settings. -EINVAL. Call after everything is read. */
int lensd_settings_check(const struct lensd_settings *settings, struct lens_error *err);

/* Takes from `from` all that a reload can change; what needs a restart stays, and the new value is kept as pending.
 * `generation`: of the pack loaded last. Takes the texts out of `from`, which is only good for lensd_settings_free
 * then. Writes what changed into `out`, "" when nothing did: "cascade.top_k 12 -> 14 (new sessions); needs a restart:
 * engine.threads 0 -> 4". What doesn't fit is counted. Returns how many settings need a restart. */
uint32_t lensd_settings_take_live(struct lensd_settings *settings, struct lensd_settings *from, uint32_t generation,
                                  char *out, size_t size);

/* Row of "pool.slots", or of the flag name "pool-slots" (no dashes in front; - and _ are the same); -1 if none. */
int lensd_setting_find(const char *name, size_t length);
/* The known key most like `name`, or NULL when none is near. */
const char *lensd_setting_nearest(const char *name, size_t length);

const char *lensd_origin_name(enum lensd_origin origin);
/* "restart", "at once", "new sessions", "new packs". */
const char *lensd_setting_applies_name(enum lensd_setting_applies applies);

/* The rows from `first` on, as many as an answer has room for; texts are lent by the settings, the table and `space`
 * (LENSD_SETTING_SPACE bytes). */
#define LENSD_SETTING_SPACE 20480u
void lensd_settings_page(const struct lensd_settings *settings, uint32_t first, char *space,
                         struct lens_setting_page *out);

/* ---- for people (settings_print.c) ------------------------------------------------------------------------------ */

/* "pool-slots" for the row pool.slots. */
void lensd_setting_flag(const struct lensd_setting *row, char *out, size_t size);

/* One paragraph per row, as --help shows them; mdoc(7) lists per section, for lensd.conf(5). */
void lensd_settings_print_help(void (*print)(void *arg, const char *line), void *arg);
void lensd_settings_print_man(void (*print)(void *arg, const char *line), void *arg);

/* ---- values (settings_values.c) --------------------------------------------------------------------------------- */

/* Parses `text` as `row` wants it into `out` (the field itself; TEXT is left to the caller). -EINVAL with a sentence
 * that doesn't name the setting. */
int lensd_setting_parse(const struct lensd_setting *row, const char *text, void *out, struct lens_error *err);
size_t lensd_setting_size(enum lensd_setting_type type); /* of the field */

/* True when `id` is in the list. */
bool lensd_ids_have(const struct lensd_ids *list, uint32_t id);

#endif
