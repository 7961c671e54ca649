/* The circuit breaker of one pack: when submissions have taken more than twice as long as usual for a while, they are
 * answered from base, pinned and kept lenses alone, until they would be quick again (DESIGN 10).
 *
 * What counts is the time from when a submission is picked until it is answered, by the daemon's clock: a client's own
 * backlog, and what it says of its times, change nothing. Submissions are compared with those of about as many rows.
 *
 * Baseline of a size, learned while the breaker is closed: the median of every WINDOW submissions, smoothed. A faster
 * window pulls it by 1/8, a slower one by 1/64; one that is over twice the baseline teaches nothing. The first
 * LENSD_BREAKER_WARMUP windows only teach.
 * Opens: windows over twice the baseline (and over LENSD_BREAKER_FLOOR_NS) follow each other for
 * LENSD_BREAKER_SLOW_NS, at least two of them.
 * While open every PROBE_EACH-th submission is a probe: scored in full. Closes when the median of PROBES probes is
 * at most 1.5 times the baseline, or the floor; a probe of a size without a baseline speaks for closing.
 *
 * Threads: the engine's; `open` and the two times may be read from any thread. Nothing here allocates or makes a
 * system call. */
#ifndef LENSD_BREAKER_H
#define LENSD_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define LENSD_BREAKER_SIZES      7u /* of submissions: 1 row, 2-3, 4-7, .. 64 and more */
#define LENSD_BREAKER_WINDOW     16u
#define LENSD_BREAKER_WARMUP     8u
#define LENSD_BREAKER_PROBES     5u
#define LENSD_BREAKER_PROBE_EACH 8u
#define LENSD_BREAKER_SLOW_NS    UINT64_C(1000000000)
#define LENSD_BREAKER_FLOOR_NS   UINT64_C(1000000)

/* Of submissions of one size. */
struct lensd_breaker_size {
    uint64_t window[LENSD_BREAKER_WINDOW];
    uint32_t n;        /* in the window */
    uint32_t windows;  /* that taught, at most LENSD_BREAKER_WARMUP */
    uint64_t baseline; /* ns; 0 = none yet */
};

struct lensd_breaker {
    _Atomic bool open;
    _Atomic uint64_t slow_ns, usual_ns; /* the median that opened it, and the baseline by then */
    struct lensd_breaker_size sizes[LENSD_BREAKER_SIZES];
    uint64_t slow_since; /* ns; 0 = the last window was not slow */
    uint32_t slow_windows;
    uint64_t probes[LENSD_BREAKER_PROBES]; /* per mille of the baseline of their size */
    uint32_t n_probes, since_probe;
};

/* What becomes of the next submission. */
enum lensd_breaker_verdict {
    LENSD_BREAKER_FULL,     /* scored in full */
    LENSD_BREAKER_PROBE,    /* likewise: its time tells whether the breaker closes */
    LENSD_BREAKER_BASE_ONLY /* base, pinned and kept lenses only */
};

/* Asked once for each submission. */
enum lensd_breaker_verdict lensd_breaker_next(struct lensd_breaker *breaker);

/* A submission of `rows` rows with that verdict took `ns` until `now_ns`. True when the breaker opened or closed. */
bool lensd_breaker_note(struct lensd_breaker *breaker, enum lensd_breaker_verdict verdict, uint32_t rows, uint64_t ns,
                        uint64_t now_ns);

/* As in the beginning: closed, nothing learned. True when it was open. */
bool lensd_breaker_reset(struct lensd_breaker *breaker);

#endif
