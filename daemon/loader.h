/* The loader: threads that read stored lenses and decode them into slots while the engine goes on.
 *
 * The engine decides what goes where (pool.h); the loader only moves bytes: from the pack file by pread, or from host
 * memory, through the backend's slot_write. Neighbours that go in together are one read. Demanded lenses come before
 * all others. The engine's own thread may help: with one lens missing and nothing else to do that is faster than waking
 * a thread.
 *
 * Threads: create and destroy on any one thread; submit, promote, take and help on the engine's; `ready` and `idle` are
 * cheap and lock free. All memory is taken at creation. */
#ifndef LENSD_LOADER_H
#define LENSD_LOADER_H

#include "kernels/backend.h"

#define LENSD_LOAD_RUN 32u        /* neighbours read at once, at most */
#define LENSD_NO_SLOT  UINT32_MAX /* to host memory only */

enum lensd_load_kind {
    LENSD_LOAD_DEMAND,  /* a row waits for it */
    LENSD_LOAD_BEHIND,  /* rows went without it */
    LENSD_LOAD_PREFETCH /* a row will probably want it */
};

/* One lens on its way. */
struct lensd_load {
    uint32_t lens, slot;
    void *host;     /* encoded weights in host memory: where they are, or (fill_host) where they are read to; or NULL */
    bool fill_host; /* read from the file into `host`, then decode from there */
    enum lensd_load_kind kind;
    int status; /* once taken: 0 or a negative errno */
};

struct lensd_loader;

struct lensd_loader_config {
    uint32_t threads;  /* besides the engine's own; at least 1 */
    uint32_t capacity; /* loads under way at most */
    bool verify;       /* checksum of each lens read from the file; lensd_loader_set_verify changes it */
    const struct lens_pack *pack;
    struct lens_slab *slab; /* made for threads + 1 loaders; the engine's own is 0 */
};

/* Most neighbours of `pack` that one read takes: as many as fit 2 MiB, at least 1, at most LENSD_LOAD_RUN. */
uint32_t lensd_loader_run_length(const struct lens_pack *pack);

int lensd_loader_create(const struct lensd_loader_config *config, struct lensd_loader **out, struct lens_error *err);
/* Finishes what threads are at, drops the rest. NULL is fine. */
void lensd_loader_destroy(struct lensd_loader *loader);

/* From the next read on. Any thread. */
void lensd_loader_set_verify(struct lensd_loader *loader, bool verify);

/* Submits n loads of one kind: neighbours ascending, n <= lensd_loader_run_length, all with host memory to decode from,
 * or none. Wakes a thread when `wake`. */
void lensd_loader_submit(struct lensd_loader *loader, const struct lensd_load *loads, uint32_t n, bool wake);

/* Somebody waits for `lens` now: the run it is in, if that wasn't begun, becomes a demanded one. */
void lensd_loader_promote(struct lensd_loader *loader, uint32_t lens);
/* Wakes the threads when demanded loads wait that were submitted without. */
void lensd_loader_wake(struct lensd_loader *loader);

/* Reads and decodes one waiting run of demanded loads here, if it needn't wait for a disk; false when there is none. */
bool lensd_loader_help(struct lensd_loader *loader);
/* The same with any kind of load, and waiting: for a thread that has nothing else to do. */
bool lensd_loader_work(struct lensd_loader *loader);

bool lensd_loader_ready(const struct lensd_loader *loader); /* take would give something */
bool lensd_loader_idle(const struct lensd_loader *loader);  /* nothing waits, runs, or is to be taken */

/* Takes up to `capacity` finished loads. */
uint32_t lensd_loader_take(struct lensd_loader *loader, struct lensd_load *out, uint32_t capacity);

/* An eventfd that becomes readable when a load finishes after `arm` was called; arm returns false when one is ready
 * already. The descriptor is the loader's. */
int lensd_loader_fd(const struct lensd_loader *loader);
bool lensd_loader_arm(struct lensd_loader *loader);
void lensd_loader_disarm(struct lensd_loader *loader);

uint64_t lensd_loader_failed(const struct lensd_loader *loader); /* loads, so far. Cheap */
/* How many loads failed so far, and the last one's sentence. Any thread. */
uint64_t lensd_loader_failures(struct lensd_loader *loader, struct lens_error *last);

#endif
