/* See readings.h. */
#include "daemon/readings.h"

#include "daemon/counter.h"
#include "daemon/sys.h"

#include <errno.h>
#include <math.h>

struct reading {
    float last, peak, peak_before; /* logits; peak: of `window`, peak_before: of the one before it */
    uint32_t window;               /* number of the window it was scored in last */
    uint64_t at_ns, rows, hits;    /* rows = 0: it never was */
};

struct lensd_readings {
    uint32_t lenses;
    struct reading of[];
};

int lensd_readings_create(uint32_t lenses, struct lensd_readings **out)
{
    *out = lensd_calloc(1, sizeof **out + lenses * sizeof(struct reading));
    if (*out == NULL)
        return -ENOMEM;
    (*out)->lenses = lenses;
    return 0;
}

void lensd_readings_destroy(struct lensd_readings *readings)
{
    lensd_free(readings);
}

static inline void put(float *to, float value)
{
    __atomic_store(to, &value, __ATOMIC_RELAXED);
}

static float take(const float *from)
{
    float value;
    __atomic_load(from, &value, __ATOMIC_RELAXED);
    return value;
}

static uint32_t window_of(uint64_t now_ns)
{
    return (uint32_t)(now_ns / LENSD_READING_WINDOW_NS);
}

static inline void note_one(struct reading *reading, float logit, uint64_t now_ns, uint32_t window)
{
    if (reading->rows == 0 || reading->window != window) {
        put(&reading->peak_before, reading->rows > 0 && reading->window + 1 == window ? reading->peak : NAN);
        put(&reading->peak, logit);
        __atomic_store_n(&reading->window, window, __ATOMIC_RELAXED);
    } else if (logit > reading->peak) {
        put(&reading->peak, logit);
    }
    put(&reading->last, logit);
    __atomic_store_n(&reading->at_ns, now_ns, __ATOMIC_RELAXED);
    lensd_counter_add(&reading->hits, logit > 0); /* a raw score above 0.5; no branch, which nobody could foresee */
    lensd_counter_add(&reading->rows, 1);
}

void lensd_readings_note(struct lensd_readings *readings, const struct lens_row_out *row, uint64_t now_ns)
{
    uint32_t window = window_of(now_ns);
    if (row->logits == NULL)
        return;
    for (uint32_t i = 0; i < row->n_wanted; i++) {
        uint32_t lens = row->wanted[i];
        if (lens < readings->lenses && !isnan(row->logits[lens]))
            note_one(&readings->of[lens], row->logits[lens], now_ns, window);
    }
}

/* The highest logit of this window and the one before; NaN when it was scored in neither. */
static float peak_of(const struct reading *reading, uint64_t now_ns)
{
    uint32_t window = __atomic_load_n(&reading->window, __ATOMIC_RELAXED), now = window_of(now_ns);
    float peak = take(&reading->peak), before = take(&reading->peak_before);
    if (window == now)
        return fmaxf(peak, before); /* the other one where one is NaN */
    return window + 1 == now ? peak : NAN;
}

void lensd_readings_get(const struct lensd_readings *readings, uint32_t lens, uint64_t now_ns,
                        struct lens_reading_row *out)
{
    const struct reading *reading = &readings->of[lens];
    uint64_t at_ns = __atomic_load_n(&reading->at_ns, __ATOMIC_RELAXED);
    out->rows = lensd_counter_get(&reading->rows);
    out->hits = lensd_counter_get(&reading->hits);
    out->last_logit = out->rows > 0 ? take(&reading->last) : NAN;
    out->peak_logit = out->rows > 0 ? peak_of(reading, now_ns) : NAN;
    out->age_ns = out->rows > 0 && now_ns > at_ns ? now_ns - at_ns : 0;
}
