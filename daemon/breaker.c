/* See breaker.h. */
#include "daemon/breaker.h"

#include <stdatomic.h>
#include <string.h>

#define FASTER_SHIFT 3u /* weight of a window that is faster than the baseline, as a power of two */
#define SLOWER_SHIFT 6u /* of a slower one */
#define PER_MILLE    1000u
#define CLOSE_AT     1500u /* per mille of the baseline */

/* The lower median; sorts the values. */
static uint64_t median(uint64_t *values, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        uint64_t value = values[i];
        uint32_t at = i;
        for (; at > 0 && values[at - 1] > value; at--)
            values[at] = values[at - 1];
        values[at] = value;
    }
    return values[(n - 1) / 2];
}

static struct lensd_breaker_size *size_of(struct lensd_breaker *breaker, uint32_t rows)
{
    uint32_t size = 0;
    while (rows > 1 && size + 1 < LENSD_BREAKER_SIZES) {
        rows /= 2;
        size++;
    }
    return &breaker->sizes[size];
}

static void learn(struct lensd_breaker_size *size, uint64_t ns)
{
    if (size->baseline == 0)
        size->baseline = ns > 0 ? ns : 1;
    else if (ns < size->baseline)
        size->baseline -= (size->baseline - ns) >> FASTER_SHIFT;
    else
        size->baseline += (ns - size->baseline) >> SLOWER_SHIFT;
    size->windows += size->windows < LENSD_BREAKER_WARMUP;
}

static bool is_slow(const struct lensd_breaker_size *size, uint64_t ns)
{
    return size->windows == LENSD_BREAKER_WARMUP && ns > 2 * size->baseline && ns > LENSD_BREAKER_FLOOR_NS;
}

static void open_it(struct lensd_breaker *breaker, uint64_t ns, uint64_t baseline)
{
    breaker->n_probes = breaker->since_probe = 0;
    atomic_store_explicit(&breaker->slow_ns, ns, memory_order_relaxed);
    atomic_store_explicit(&breaker->usual_ns, baseline, memory_order_relaxed);
    atomic_store_explicit(&breaker->open, true, memory_order_release);
}

static void close_it(struct lensd_breaker *breaker)
{
    for (uint32_t i = 0; i < LENSD_BREAKER_SIZES; i++)
        breaker->sizes[i].n = 0; /* begun before it opened */
    breaker->slow_since = 0;
    breaker->slow_windows = 0;
    atomic_store_explicit(&breaker->open, false, memory_order_release);
}

static bool note_full(struct lensd_breaker *breaker, uint32_t rows, uint64_t ns, uint64_t now_ns)
{
    struct lensd_breaker_size *size = size_of(breaker, rows);
    size->window[size->n++] = ns;
    if (size->n < LENSD_BREAKER_WINDOW)
        return false;
    size->n = 0;
    uint64_t middle = median(size->window, LENSD_BREAKER_WINDOW);
    if (!is_slow(size, middle)) {
        breaker->slow_since = 0;
        breaker->slow_windows = 0;
        if (size->windows < LENSD_BREAKER_WARMUP || middle <= 2 * size->baseline)
            learn(size, middle);
        return false;
    }
    if (breaker->slow_windows++ == 0)
        breaker->slow_since = now_ns;
    if (breaker->slow_windows < 2 || now_ns - breaker->slow_since < LENSD_BREAKER_SLOW_NS)
        return false;
    open_it(breaker, middle, size->baseline);
    return true;
}

static bool note_probe(struct lensd_breaker *breaker, uint32_t rows, uint64_t ns)
{
    const struct lensd_breaker_size *size = size_of(breaker, rows);
    bool known = size->windows == LENSD_BREAKER_WARMUP, quick = ns <= LENSD_BREAKER_FLOOR_NS;
    breaker->probes[breaker->n_probes++] = !known || quick ? 0 : ns * PER_MILLE / size->baseline;
    if (breaker->n_probes < LENSD_BREAKER_PROBES)
        return false;
    breaker->n_probes = 0;
    if (median(breaker->probes, LENSD_BREAKER_PROBES) > CLOSE_AT)
        return false;
    close_it(breaker);
    return true;
}

enum lensd_breaker_verdict lensd_breaker_next(struct lensd_breaker *breaker)
{
    if (!atomic_load_explicit(&breaker->open, memory_order_relaxed))
        return LENSD_BREAKER_FULL;
    if (++breaker->since_probe < LENSD_BREAKER_PROBE_EACH)
        return LENSD_BREAKER_BASE_ONLY;
    breaker->since_probe = 0;
    return LENSD_BREAKER_PROBE;
}

bool lensd_breaker_note(struct lensd_breaker *breaker, enum lensd_breaker_verdict verdict, uint32_t rows, uint64_t ns,
                        uint64_t now_ns)
{
    bool open = atomic_load_explicit(&breaker->open, memory_order_relaxed);
    if (verdict == LENSD_BREAKER_FULL && !open)
        return note_full(breaker, rows, ns, now_ns);
    if (verdict == LENSD_BREAKER_PROBE && open)
        return note_probe(breaker, rows, ns);
    return false; /* picked before the breaker turned */
}

bool lensd_breaker_reset(struct lensd_breaker *breaker)
{
    bool was_open = atomic_load_explicit(&breaker->open, memory_order_relaxed);
    memset(breaker->sizes, 0, sizeof breaker->sizes);
    close_it(breaker);
    return was_open;
}
