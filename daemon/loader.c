/* See loader.h. Two queues (demanded, and all others) of runs of neighbours, a list of finished loads, one mutex.
 * Reading and decoding happen outside it. */
#include "daemon/loader.h"

#include "daemon/locked_memory.h"
#include "daemon/sys.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RUN_BYTES (2u << 20) /* of one read */

struct run {
    uint32_t n;
    bool on_disk; /* not in the page cache: not the engine's to read */
    struct lensd_load loads[LENSD_LOAD_RUN];
};

/* A ring of indices into runs. */
struct queue {
    uint32_t *runs;
    uint32_t head, n;
};

/* Who reads: a thread of ours, or (index 0) the engine's. */
struct reader {
    struct lensd_loader *loader;
    uint32_t index;
    pthread_t thread;
    unsigned char *staging, *sign;
    struct run run; /* what it is at */
    bool may_wait;  /* for a disk */
};

struct lensd_loader {
    struct lensd_loader_config config;
    atomic_bool verify;
    uint32_t run_length;
    struct reader *readers; /* [threads + 1] */
    uint32_t started;
    pthread_mutex_t lock;
    pthread_cond_t work;
    bool stop;
    struct run *runs; /* [capacity] */
    uint32_t *free_runs, n_free;
    struct queue demanded, others;
    struct lensd_load *finished; /* [capacity] */
    struct lens_error failure;
    _Atomic uint64_t failures; /* written under lock */
    atomic_uint n_finished, under_way, n_demanded, n_others;
    atomic_bool armed;
    int fd;
};

uint32_t lensd_loader_run_length(const struct lens_pack *pack)
{
    uint64_t n = RUN_BYTES / (pack->w1_lens_bytes + pack->w1_sign_bytes);
    return n < 1 ? 1 : n > LENSD_LOAD_RUN ? LENSD_LOAD_RUN : (uint32_t)n;
}

void lensd_loader_set_verify(struct lensd_loader *loader, bool verify)
{
    atomic_store_explicit(&loader->verify, verify, memory_order_relaxed);
}

/* ---- queues (under the lock) ------------------------------------------------------------------------------------ */

static void push(const struct lensd_loader *loader, struct queue *queue, uint32_t run)
{
    queue->runs[(queue->head + queue->n++) % loader->config.capacity] = run;
}

static bool pop(const struct lensd_loader *loader, struct queue *queue, uint32_t *run)
{
    if (queue->n == 0)
        return false;
    *run = queue->runs[queue->head];
    queue->head = (queue->head + 1) % loader->config.capacity;
    queue->n--;
    return true;
}

static void publish_lengths(struct lensd_loader *loader)
{
    atomic_store_explicit(&loader->n_demanded, loader->demanded.n, memory_order_relaxed);
    atomic_store_explicit(&loader->n_others, loader->others.n, memory_order_relaxed);
}

static bool first_is_on_disk(const struct lensd_loader *loader, const struct queue *queue)
{
    return queue->n > 0 && loader->runs[queue->runs[queue->head]].on_disk;
}

/* Takes the next run for `reader`; false when there is none for it. */
static bool next_run(struct lensd_loader *loader, struct reader *reader, bool any)
{
    uint32_t run;
    if (!reader->may_wait && first_is_on_disk(loader, &loader->demanded))
        return false;
    if (!pop(loader, &loader->demanded, &run) && !(any && pop(loader, &loader->others, &run)))
        return false;
    reader->run = loader->runs[run];
    loader->free_runs[loader->n_free++] = run;
    publish_lengths(loader);
    return true;
}

/* Leaves a run to the threads: it comes first. */
static void put_back(struct lensd_loader *loader, const struct run *given)
{
    uint32_t run = loader->free_runs[--loader->n_free];
    struct queue *queue = &loader->demanded;
    loader->runs[run] = *given;
    loader->runs[run].on_disk = true;
    queue->head = (queue->head + loader->config.capacity - 1) % loader->config.capacity;
    queue->runs[queue->head] = run;
    queue->n++;
    publish_lengths(loader);
}

static void finish_run(struct lensd_loader *loader, const struct run *run, const struct lens_error *err)
{
    uint32_t n = atomic_load_explicit(&loader->n_finished, memory_order_relaxed);
    memcpy(loader->finished + n, run->loads, run->n * sizeof *run->loads);
    if (run->loads[0].status != 0) {
        atomic_fetch_add_explicit(&loader->failures, run->n, memory_order_relaxed);
        loader->failure = *err;
    }
    atomic_store_explicit(&loader->n_finished, n + run->n, memory_order_release);
}

static void ring(struct lensd_loader *loader)
{
    if (!atomic_exchange(&loader->armed, false))
        return;
    uint64_t one = 1;
    ssize_t n = write(loader->fd, &one, sizeof one);
    (void)n; /* a full counter is readable as well */
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static int read_some(const struct reader *reader, uint32_t first, uint32_t n, void *w1, void *sign,
                     struct lens_error *err)
{
    const struct lens_pack *pack = reader->loader->config.pack;
    int r = reader->may_wait ? lens_pack_read_w1(pack, first, n, w1, sign, err)
                             : lens_pack_read_w1_cached(pack, first, n, w1, sign);
    bool verify = atomic_load_explicit(&reader->loader->verify, memory_order_relaxed);
    for (uint32_t i = 0; r == 0 && verify && i < n; i++) {
        const char *at = (const char *)w1 + i * pack->w1_lens_bytes;
        const char *signs = pack->w1_sign_bytes > 0 ? (const char *)sign + i * pack->w1_sign_bytes : NULL;
        if (!lens_pack_lens_intact(pack, first + i, at, signs))
            r = lens_error_set(err, -EBADMSG,
                               "lens %u of %s doesn't have its checksum: the file was changed or damaged", first + i,
                               pack->path);
    }
    return r;
}

/* Brings the encoded weights of a run's lenses into memory; w1[i] and sign[i] say where they are. */
static int fetch(struct reader *reader, const void **w1, const void **sign, struct lens_error *err)
{
    const struct lens_pack *pack = reader->loader->config.pack;
    const struct run *run = &reader->run;
    int r = 0;
    if (run->loads[0].host == NULL)
        r = read_some(reader, run->loads[0].lens, run->n, reader->staging, reader->sign, err);
    for (uint32_t i = 0; r == 0 && i < run->n; i++) {
        char *host = run->loads[i].host;
        w1[i] = host != NULL ? host : (char *)reader->staging + i * pack->w1_lens_bytes;
        sign[i] = host != NULL ? host + pack->w1_lens_bytes : (char *)reader->sign + i * pack->w1_sign_bytes;
        if (run->loads[i].fill_host)
            r = read_some(reader, run->loads[i].lens, 1, host, host + pack->w1_lens_bytes, err);
    }
    return r;
}

struct completion {
    atomic_int done;
    int status;
};

static void on_written(void *arg, int status)
{
    struct completion *completion = arg;
    completion->status = status;
    atomic_store_explicit(&completion->done, 1, memory_order_release);
}

static int decode(struct reader *reader, const void **w1, const void **sign, struct lens_error *err)
{
    const struct lens_pack *pack = reader->loader->config.pack;
    struct lens_slab *slab = reader->loader->config.slab;
    struct lens_slot_write writes[LENSD_LOAD_RUN];
    if (reader->run.loads[0].slot == LENSD_NO_SLOT)
        return 0;
    for (uint32_t i = 0; i < reader->run.n; i++) {
        size_t row = (size_t)reader->run.loads[i].lens * pack->h1;
        writes[i] = (struct lens_slot_write){
            .slot = reader->run.loads[i].slot,
            .lens = reader->run.loads[i].lens,
            .stored = pack->w1_dtype,
            .w1 = w1[i],
            .sign = pack->w1_dtype == LENS_LOG8 ? sign[i] : NULL,
            .scale = pack->w1_scale ? pack->w1_scale + row : NULL,
            .log_min = pack->w1_log_min ? pack->w1_log_min + row : NULL,
            .log_max = pack->w1_log_max ? pack->w1_log_max + row : NULL,
        };
    }
    struct completion completion = {0};
    int r = slab->backend->ops->slot_write(slab, reader->index, writes, reader->run.n, on_written, &completion, err);
    if (r != 0)
        return r;
    while (atomic_load_explicit(&completion.done, memory_order_acquire) == 0)
        __builtin_ia32_pause();
    if (completion.status != 0)
        return lens_error_set(err, completion.status, "writing %u lenses into slots failed", reader->run.n);
    return 0;
}

/* Hands the loads of the run that `reader` holds back; r: what came of them. */
static void hand_back(struct reader *reader, int r, const struct lens_error *err)
{
    struct lensd_loader *loader = reader->loader;
    for (uint32_t i = 0; i < reader->run.n; i++)
        reader->run.loads[i].status = r;
    pthread_mutex_lock(&loader->lock);
    finish_run(loader, &reader->run, err);
    pthread_mutex_unlock(&loader->lock);
    ring(loader);
}

enum outcome { RUN_HANDED_BACK, RUN_LEFT_TO_THREADS, RUN_UNREADABLE };

/* Reads and decodes the run that `reader` holds; nothing is handed back yet of several lenses of which one
 * is unsound. */
static enum outcome try_run(struct reader *reader)
{
    const void *w1[LENSD_LOAD_RUN], *sign[LENSD_LOAD_RUN];
    struct lens_error err = {0};
    int r = fetch(reader, w1, sign, &err);
    if (r == -EAGAIN && !reader->may_wait) {
        pthread_mutex_lock(&reader->loader->lock);
        put_back(reader->loader, &reader->run);
        pthread_mutex_unlock(&reader->loader->lock);
        pthread_cond_broadcast(&reader->loader->work);
        return RUN_LEFT_TO_THREADS;
    }
    bool unreadable = r != 0;
    if (r == 0)
        r = decode(reader, w1, sign, &err);
    if ((unreadable || r == -EINVAL) && reader->run.n > 1) /* -EINVAL: one lens's numbers, not the device */
        return RUN_UNREADABLE;
    hand_back(reader, r, &err);
    return RUN_HANDED_BACK;
}

/* Does the run that `reader` holds, and hands its loads back; false when all were left to the threads. What is wrong
 * with one lens mustn't cost its neighbours: lenses that can't be read together are read one by one. */
static bool do_run(struct reader *reader)
{
    enum outcome outcome = try_run(reader);
    if (outcome != RUN_UNREADABLE)
        return outcome == RUN_HANDED_BACK;
    const struct run whole = reader->run;
    bool any = false;
    for (uint32_t i = 0; i < whole.n; i++) {
        reader->run = (struct run){.n = 1, .loads = {whole.loads[i]}};
        any = try_run(reader) == RUN_HANDED_BACK || any;
    }
    return any;
}

static void *thread_main(void *arg)
{
    struct reader *reader = arg;
    struct lensd_loader *loader = reader->loader;
    pthread_mutex_lock(&loader->lock);
    while (!loader->stop) {
        if (!next_run(loader, reader, true)) {
            pthread_cond_wait(&loader->work, &loader->lock);
            continue;
        }
        pthread_mutex_unlock(&loader->lock);
        (void)do_run(reader);
        pthread_mutex_lock(&loader->lock);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* ---- the engine's side ------------------------------------------------------------------------------------------ */

void lensd_loader_submit(struct lensd_loader *loader, const struct lensd_load *loads, uint32_t n, bool wake)
{
    pthread_mutex_lock(&loader->lock);
    uint32_t run = loader->free_runs[--loader->n_free];
    loader->runs[run].n = n;
    loader->runs[run].on_disk = false;
    memcpy(loader->runs[run].loads, loads, n * sizeof *loads);
    push(loader, loads[0].kind == LENSD_LOAD_DEMAND ? &loader->demanded : &loader->others, run);
    publish_lengths(loader);
    atomic_fetch_add_explicit(&loader->under_way, n, memory_order_relaxed);
    pthread_mutex_unlock(&loader->lock);
    if (wake)
        pthread_cond_signal(&loader->work);
}

static bool has_lens(const struct run *run, uint32_t lens)
{
    for (uint32_t i = 0; i < run->n; i++)
        if (run->loads[i].lens == lens)
            return true;
    return false;
}

void lensd_loader_promote(struct lensd_loader *loader, uint32_t lens)
{
    pthread_mutex_lock(&loader->lock);
    uint32_t run, waiting = loader->others.n;
    for (uint32_t i = 0; i < waiting && pop(loader, &loader->others, &run); i++)
        push(loader, has_lens(&loader->runs[run], lens) ? &loader->demanded : &loader->others, run);
    publish_lengths(loader);
    pthread_mutex_unlock(&loader->lock);
}

void lensd_loader_wake(struct lensd_loader *loader)
{
    if (atomic_load_explicit(&loader->n_demanded, memory_order_relaxed) > 0)
        pthread_cond_broadcast(&loader->work);
}

static bool read_here(struct lensd_loader *loader, bool any)
{
    loader->readers[0].may_wait = any;
    pthread_mutex_lock(&loader->lock);
    bool found = next_run(loader, &loader->readers[0], any);
    pthread_mutex_unlock(&loader->lock);
    return found && do_run(&loader->readers[0]);
}

bool lensd_loader_help(struct lensd_loader *loader)
{
    return atomic_load_explicit(&loader->n_demanded, memory_order_relaxed) > 0 && read_here(loader, false);
}

bool lensd_loader_work(struct lensd_loader *loader)
{
    return read_here(loader, true);
}

bool lensd_loader_ready(const struct lensd_loader *loader)
{
    return atomic_load_explicit(&loader->n_finished, memory_order_acquire) > 0;
}

bool lensd_loader_idle(const struct lensd_loader *loader)
{
    return atomic_load_explicit(&loader->under_way, memory_order_relaxed) == 0;
}

uint32_t lensd_loader_take(struct lensd_loader *loader, struct lensd_load *out, uint32_t capacity)
{
    pthread_mutex_lock(&loader->lock);
    uint32_t finished = atomic_load_explicit(&loader->n_finished, memory_order_relaxed);
    uint32_t n = finished < capacity ? finished : capacity;
    memcpy(out, loader->finished + finished - n, n * sizeof *out);
    atomic_store_explicit(&loader->n_finished, finished - n, memory_order_relaxed);
    atomic_fetch_sub_explicit(&loader->under_way, n, memory_order_relaxed);
    pthread_mutex_unlock(&loader->lock);
    return n;
}

int lensd_loader_fd(const struct lensd_loader *loader)
{
    return loader->fd;
}

bool lensd_loader_arm(struct lensd_loader *loader)
{
    atomic_store(&loader->armed, true);
    return !lensd_loader_ready(loader);
}

void lensd_loader_disarm(struct lensd_loader *loader)
{
    atomic_store(&loader->armed, false);
    uint64_t rings;
    ssize_t n = read(loader->fd, &rings, sizeof rings);
    (void)n;
}

uint64_t lensd_loader_failed(const struct lensd_loader *loader)
{
    return atomic_load_explicit(&loader->failures, memory_order_relaxed);
}

uint64_t lensd_loader_failures(struct lensd_loader *loader, struct lens_error *last)
{
    pthread_mutex_lock(&loader->lock);
    uint64_t failures = loader->failures;
    *last = loader->failure;
    pthread_mutex_unlock(&loader->lock);
    return failures;
}

/* ---- start and stop --------------------------------------------------------------------------------------------- */

static bool allocate(struct lensd_loader *loader)
{
    const struct lens_pack *pack = loader->config.pack;
    struct lens_backend *backend = loader->config.slab->backend;
    uint32_t capacity = loader->config.capacity;
    loader->readers = lensd_calloc(loader->config.threads + 1, sizeof *loader->readers);
    loader->runs = lensd_calloc(capacity, sizeof *loader->runs);
    loader->free_runs = lensd_calloc(capacity, sizeof *loader->free_runs);
    loader->demanded.runs = lensd_calloc(capacity, sizeof *loader->demanded.runs);
    loader->others.runs = lensd_calloc(capacity, sizeof *loader->others.runs);
    loader->finished = lensd_calloc(capacity, sizeof *loader->finished);
    if (!loader->readers || !loader->runs || !loader->free_runs || !loader->demanded.runs || !loader->others.runs ||
        !loader->finished)
        return false;
    for (uint32_t i = 0; i <= loader->config.threads; i++) {
        struct reader *reader = &loader->readers[i];
        reader->loader = loader;
        reader->index = i;
        reader->may_wait = true;
        reader->staging = lensd_locked_alloc(backend, loader->run_length * pack->w1_lens_bytes);
        reader->sign = lensd_locked_alloc(backend, loader->run_length * pack->w1_sign_bytes + 64);
        if (reader->staging == NULL || reader->sign == NULL)
            return false;
    }
    for (uint32_t i = 0; i < capacity; i++)
        loader->free_runs[i] = capacity - 1 - i;
    loader->n_free = capacity;
    return true;
}

static int start_thread(struct reader *reader)
{
    char name[16];
    snprintf(name, sizeof name, "lensd-load-%u", reader->index % 1000);
    return lensd_thread_start(&reader->thread, name, thread_main, reader);
}

int lensd_loader_create(const struct lensd_loader_config *config, struct lensd_loader **out, struct lens_error *err)
{
    *out = NULL;
    struct lensd_loader *loader = lensd_calloc(1, sizeof *loader);
    if (loader == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a loader");
    loader->config = *config;
    lensd_loader_set_verify(loader, config->verify);
    loader->run_length = lensd_loader_run_length(config->pack);
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->work, NULL);
    loader->fd = lensd_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = loader->fd < 0 ? loader->fd : allocate(loader) ? 0 : -ENOMEM;
    for (uint32_t i = 1; r == 0 && i <= config->threads; i++) {
        r = start_thread(&loader->readers[i]);
        loader->started += r == 0;
    }
    if (r != 0) {
        lensd_loader_destroy(loader);
        return lens_error_set(err, r, "starting %u threads that load lenses: %s", config->threads, strerror(-r));
    }
    *out = loader;
    return 0;
}

void lensd_loader_destroy(struct lensd_loader *loader)
{
    if (loader == NULL)
        return;
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_mutex_unlock(&loader->lock);
    pthread_cond_broadcast(&loader->work);
    for (uint32_t i = 1; i <= loader->started; i++)
        pthread_join(loader->readers[i].thread, NULL);
    for (uint32_t i = 0; loader->readers != NULL && i <= loader->config.threads; i++) {
        lensd_locked_free(loader->config.slab->backend, loader->readers[i].staging);
        lensd_locked_free(loader->config.slab->backend, loader->readers[i].sign);
    }
    if (loader->fd >= 0)
        close(loader->fd);
    pthread_cond_destroy(&loader->work);
    pthread_mutex_destroy(&loader->lock);
    lensd_free(loader->readers);
    lensd_free(loader->runs);
    lensd_free(loader->free_runs);
    lensd_free(loader->demanded.runs);
    lensd_free(loader->others.runs);
    lensd_free(loader->finished);
    lensd_free(loader);
}
