/* Measuring the machine's read rate; see read_rate.h.
 *
 * The loops add up what they read and hand the sum out, so that no compiler can leave a load away; eight sums keep
 * enough loads in flight. The ways differ in width, in how many places they read from at once and in prefetching. */
#include "tests/bench/support/read_rate.h"

#include "tests/bench/support/bench.h"
#include "tests/bench/support/random.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MAX_THREADS 64
#define GRAIN       4096u /* a thread's share is a multiple of it */

typedef uint64_t (*read_fn)(const unsigned char *data, uint64_t bytes);

static uint64_t read_words(const unsigned char *data, uint64_t bytes)
{
    const uint64_t *word = (const uint64_t *)(const void *)data, *end = word + bytes / 8;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (; word < end; word += 8) {
        a += word[0] + word[4];
        b += word[1] + word[5];
        c += word[2] + word[6];
        d += word[3] + word[7];
    }
    return a + b + c + d;
}

#if defined(__x86_64__)
/* Straight-line code on named sums: an array of them might live in memory and be measured too. */
struct sums256 {
    __m256i a, b, c, d;
};

__attribute__((target("avx2"))) static inline void add128_avx2(const unsigned char *at, struct sums256 *sum)
{
    const __m256i *v = (const __m256i *)(const void *)at;
    sum->a = _mm256_add_epi64(sum->a, _mm256_load_si256(v));
    sum->b = _mm256_add_epi64(sum->b, _mm256_load_si256(v + 1));
    sum->c = _mm256_add_epi64(sum->c, _mm256_load_si256(v + 2));
    sum->d = _mm256_add_epi64(sum->d, _mm256_load_si256(v + 3));
}

__attribute__((target("avx2"))) static uint64_t read_avx2(const unsigned char *data, uint64_t bytes)
{
    const __m256i zero = _mm256_setzero_si256();
    struct sums256 even = {zero, zero, zero, zero}, odd = even;
    for (uint64_t i = 0; i < bytes; i += 256) {
        add128_avx2(data + i, &even);
        add128_avx2(data + i + 128, &odd);
    }
    __m256i all = _mm256_add_epi64(_mm256_add_epi64(even.a, even.b), _mm256_add_epi64(even.c, even.d));
    all = _mm256_add_epi64(all, _mm256_add_epi64(_mm256_add_epi64(odd.a, odd.b), _mm256_add_epi64(odd.c, odd.d)));
    return (uint64_t)_mm256_extract_epi64(all, 0) + (uint64_t)_mm256_extract_epi64(all, 2);
}

struct sums512 {
    __m512i a, b, c, d;
};

__attribute__((target("avx512f"))) static inline struct sums512 no_sums(void)
{
    const __m512i zero = _mm512_setzero_si512();
    return (struct sums512){zero, zero, zero, zero};
}

__attribute__((target("avx512f"))) static inline void add256_avx512(const unsigned char *at, struct sums512 *sum)
{
    sum->a = _mm512_add_epi64(sum->a, _mm512_load_si512((const void *)at));
    sum->b = _mm512_add_epi64(sum->b, _mm512_load_si512((const void *)(at + 64)));
    sum->c = _mm512_add_epi64(sum->c, _mm512_load_si512((const void *)(at + 128)));
    sum->d = _mm512_add_epi64(sum->d, _mm512_load_si512((const void *)(at + 192)));
}

__attribute__((target("avx512f"))) static inline uint64_t total_avx512(const struct sums512 *s, const struct sums512 *t)
{
    __m512i first = _mm512_add_epi64(_mm512_add_epi64(s->a, s->b), _mm512_add_epi64(s->c, s->d));
    __m512i second = _mm512_add_epi64(_mm512_add_epi64(t->a, t->b), _mm512_add_epi64(t->c, t->d));
    return (uint64_t)_mm512_reduce_or_epi64(_mm512_add_epi64(first, second));
}

__attribute__((target("avx512f"))) static inline void prefetch256(const unsigned char *at)
{
    _mm_prefetch((const char *)at, _MM_HINT_T0);
    _mm_prefetch((const char *)at + 64, _MM_HINT_T0);
    _mm_prefetch((const char *)at + 128, _MM_HINT_T0);
    _mm_prefetch((const char *)at + 192, _MM_HINT_T0);
}

__attribute__((target("avx512f"))) static uint64_t read_avx512(const unsigned char *data, uint64_t bytes)
{
    struct sums512 even = no_sums(), odd = no_sums();
    for (uint64_t i = 0; i < bytes; i += 512) {
        add256_avx512(data + i, &even);
        add256_avx512(data + i + 256, &odd);
    }
    return total_avx512(&even, &odd);
}

__attribute__((target("avx512f"))) static uint64_t read_avx512_prefetch(const unsigned char *data, uint64_t bytes)
{
    struct sums512 even = no_sums(), odd = no_sums();
    for (uint64_t i = 0; i < bytes; i += 512) {
        prefetch256(data + i + 8192);
        add256_avx512(data + i, &even);
        prefetch256(data + i + 8448);
        add256_avx512(data + i + 256, &odd);
    }
    return total_avx512(&even, &odd);
}

/* Four places at once, a quarter of the range each (GRAIN keeps them whole). */
__attribute__((target("avx512f"))) static uint64_t read_avx512_4(const unsigned char *data, uint64_t bytes)
{
    struct sums512 even = no_sums(), odd = no_sums();
    uint64_t share = bytes / 4;
    for (uint64_t i = 0; i < share; i += 256) {
        add256_avx512(data + i, &even);
        add256_avx512(data + i + share, &odd);
        add256_avx512(data + i + 2 * share, &even);
        add256_avx512(data + i + 3 * share, &odd);
    }
    return total_avx512(&even, &odd);
}

__attribute__((target("avx512f"))) static uint64_t read_avx512_4_prefetch(const unsigned char *data, uint64_t bytes)
{
    struct sums512 even = no_sums(), odd = no_sums();
    uint64_t share = bytes / 4;
    for (uint64_t i = 0; i < share; i += 256) {
        const unsigned char *at = data + i;
        prefetch256(at + 4096);
        add256_avx512(at, &even);
        prefetch256(at + share + 4096);
        add256_avx512(at + share, &odd);
        prefetch256(at + 2 * share + 4096);
        add256_avx512(at + 2 * share, &even);
        prefetch256(at + 3 * share + 4096);
        add256_avx512(at + 3 * share, &odd);
    }
    return total_avx512(&even, &odd);
}

/* A page of each of two halves in turn: two places that the hardware prefetcher can follow. */
__attribute__((target("avx512f"))) static uint64_t read_avx512_pages(const unsigned char *data, uint64_t bytes)
{
    struct sums512 even = no_sums(), odd = no_sums();
    uint64_t half = bytes / 2;
    for (uint64_t page = 0; page < half; page += 1024) {
        for (uint64_t i = page; i < page + 1024; i += 256) {
            prefetch256(data + i + 16384);
            add256_avx512(data + i, &even);
        }
        for (uint64_t i = page; i < page + 1024; i += 256) {
            prefetch256(data + half + i + 16384);
            add256_avx512(data + half + i, &odd);
        }
    }
    return total_avx512(&even, &odd);
}
#endif

struct way {
    const char *name;
    read_fn read;
};

/* Widest last; bench_reader_ways cuts the list to what the processor has. */
static const struct way all_ways[] = {
    {"64-bit words", read_words},
#if defined(__x86_64__)
    {"avx2", read_avx2},
    {"avx512", read_avx512},
    {"avx512, prefetch 8 KiB ahead", read_avx512_prefetch},
    {"avx512, 4 streams", read_avx512_4},
    {"avx512, 4 streams, prefetch 4 KiB ahead", read_avx512_4_prefetch},
    {"avx512, 2 streams, prefetch 16 KiB ahead", read_avx512_pages},
#endif
};

uint32_t bench_reader_ways(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return sizeof all_ways / sizeof *all_ways;
    return __builtin_cpu_supports("avx2") ? 2 : 1;
#else
    return 1;
#endif
}

const char *bench_reader_way_name(uint32_t way)
{
    return all_ways[way].name;
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

struct bench_reader {
    unsigned char *buffer;
    uint64_t bytes, at;
    uint32_t threads, way;
    pthread_t workers[MAX_THREADS];
    struct worker {
        struct bench_reader *reader;
        uint32_t index;
    } places[MAX_THREADS];
    pthread_mutex_t lock;
    pthread_cond_t wake;
    uint64_t pass; /* under lock */
    bool stop;
    const unsigned char *data; /* of the pass */
    uint64_t share;
    atomic_uint ready, go, done;
    atomic_ullong sum;
};

static void read_share(struct bench_reader *reader, uint32_t index)
{
    uint64_t sum = all_ways[reader->way].read(reader->data + index * reader->share, reader->share);
    atomic_fetch_add_explicit(&reader->sum, sum, memory_order_relaxed);
}

static void *work(void *arg)
{
    const struct worker *worker = arg;
    struct bench_reader *reader = worker->reader;
    bench_pin(worker->index);
    for (uint64_t pass = 1;; pass++) {
        pthread_mutex_lock(&reader->lock);
        while (reader->pass < pass && !reader->stop)
            pthread_cond_wait(&reader->wake, &reader->lock);
        bool stop = reader->stop;
        pthread_mutex_unlock(&reader->lock);
        if (stop)
            return NULL;
        atomic_fetch_add(&reader->ready, 1);
        while (atomic_load_explicit(&reader->go, memory_order_acquire) != pass % 1000 + 1)
            ;
        read_share(reader, worker->index);
        atomic_fetch_add(&reader->done, 1);
    }
}

double bench_reader_pass(struct bench_reader *reader, uint64_t bytes)
{
    uint64_t grain = (uint64_t)GRAIN * reader->threads, length = (bytes + grain - 1) / grain * grain;
    if (length > reader->bytes)
        length = reader->bytes / grain * grain;
    if (reader->at + length > reader->bytes)
        reader->at = 0;
    reader->data = reader->buffer + reader->at;
    reader->share = length / reader->threads;
    reader->at += length;
    atomic_store(&reader->ready, 0);
    atomic_store(&reader->done, 0);
    pthread_mutex_lock(&reader->lock);
    uint64_t pass = ++reader->pass;
    pthread_cond_broadcast(&reader->wake);
    pthread_mutex_unlock(&reader->lock);
    while (atomic_load(&reader->ready) != reader->threads - 1)
        ;
    uint64_t start = bench_now_ns();
    atomic_store_explicit(&reader->go, (unsigned)(pass % 1000 + 1), memory_order_release);
    read_share(reader, 0);
    while (atomic_load(&reader->done) != reader->threads - 1)
        ;
    return (double)length / ((double)(bench_now_ns() - start) * 1e-9);
}

/* Each way five times in turn over a sixth of the buffer; the best median wins. */
static void choose_fastest(struct bench_reader *reader)
{
    double rate[sizeof all_ways / sizeof *all_ways][5], best = 0;
    uint32_t ways = bench_reader_ways(), fastest = 0;
    for (int round = 0; round < 5; round++) {
        for (reader->way = 0; reader->way < ways; reader->way++)
            rate[reader->way][round] = bench_reader_pass(reader, reader->bytes / 6);
    }
    for (uint32_t way = 0; way < ways; way++) {
        double median = bench_quantile(rate[way], 5, 0.5);
        if (median > best) {
            best = median;
            fastest = way;
        }
    }
    reader->way = fastest;
}

struct bench_reader *bench_reader_open(uint32_t threads, uint64_t buffer_bytes)
{
    struct bench_reader *reader = bench_alloc(sizeof *reader);
    if (threads < 1 || threads > MAX_THREADS)
        bench_die("%u reading threads are not between 1 and %d", threads, MAX_THREADS);
    reader->threads = threads;
    reader->bytes = buffer_bytes;
    reader->buffer = bench_alloc_huge(buffer_bytes + (64u << 10));
    bench_random_uniform(1, 1.0f, (float *)(void *)reader->buffer, buffer_bytes / sizeof(float));
    pthread_mutex_init(&reader->lock, NULL);
    pthread_cond_init(&reader->wake, NULL);
    bench_cpus(); /* before any thread narrows its own set */
    for (uint32_t i = 1; i < threads; i++) {
        reader->places[i] = (struct worker){reader, i};
        if (pthread_create(&reader->workers[i], NULL, work, &reader->places[i]) != 0)
            bench_die("no thread to read with");
    }
    choose_fastest(reader);
    return reader;
}

void bench_reader_close(struct bench_reader *reader)
{
    pthread_mutex_lock(&reader->lock);
    reader->stop = true;
    pthread_cond_broadcast(&reader->wake);
    pthread_mutex_unlock(&reader->lock);
    for (uint32_t i = 1; i < reader->threads; i++)
        pthread_join(reader->workers[i], NULL);
    bench_free_huge(reader->buffer, reader->bytes + (64u << 10));
    free(reader);
}

uint32_t bench_reader_way(const struct bench_reader *reader)
{
    return reader->way;
}

void bench_reader_choose(struct bench_reader *reader, uint32_t way)
{
    reader->way = way;
}
