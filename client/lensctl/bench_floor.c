/* What reading memory costs here; see bench.h. */
#include "client/lensctl/bench.h"
#include "client/lensctl/waiting.h"

#include <pthread.h>
#include <stdlib.h>

#define MOST_THREADS 64u
#define TOUCH_BYTES  ((uint64_t)256 << 20) /* read by each measurement, over and over where the share is smaller */
#define ATTEMPTS     3

struct reader {
    pthread_t thread;
    const uint64_t *data;
    size_t words, rounds;
    uint64_t sum; /* keeps the reads */
    double ns;
};

static uint64_t sum_of(const uint64_t *data, size_t words)
{
    uint64_t a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
    for (size_t i = 0; i + 8 <= words; i += 8) {
        a += data[i];
        b += data[i + 1];
        c += data[i + 2];
        d += data[i + 3];
        e += data[i + 4];
        f += data[i + 5];
        g += data[i + 6];
        h += data[i + 7];
    }
    return a + b + c + d + e + f + g + h;
}

static void *read_share(void *arg)
{
    struct reader *reader = arg;
    uint64_t begin = ctl_now_ns();
    for (size_t i = 0; i < reader->rounds; i++) {
        reader->sum += sum_of(reader->data, reader->words);
        __asm__ volatile("" ::: "memory"); /* each round reads anew */
    }
    reader->ns = (double)(ctl_now_ns() - begin) / (double)reader->rounds;
    return NULL;
}

/* All threads at once; the slowest one's time for its share. 0 when a thread can't be started. */
static double measure(const uint64_t *data, size_t words, uint32_t threads)
{
    struct reader readers[MOST_THREADS] = {0};
    size_t share = words / threads;
    size_t rounds = 1 + (size_t)(TOUCH_BYTES / threads / (share * sizeof *data));
    uint32_t started = 0;
    double slowest = 0;
    while (started < threads) {
        struct reader *reader = &readers[started];
        *reader = (struct reader){.data = data + started * share, .words = share, .rounds = rounds};
        if (pthread_create(&reader->thread, NULL, read_share, reader) != 0)
            break;
        started++;
    }
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(readers[i].thread, NULL);
        slowest = readers[i].ns > slowest ? readers[i].ns : slowest;
    }
    return started == threads ? slowest : 0;
}

double bench_floor_ns(uint64_t bytes, uint32_t threads)
{
    size_t words = (size_t)(bytes / sizeof(uint64_t));
    double best = 0;
    if (threads == 0 || threads > MOST_THREADS || words / threads < 8)
        return 0;
    uint64_t *data = malloc(words * sizeof *data);
    if (data == NULL)
        return 0;
    for (size_t i = 0; i < words; i++)
        data[i] = i; /* pages of zeros would all be one */
    for (int i = 0; i < ATTEMPTS; i++) {
        double ns = measure(data, words, threads);
        best = best == 0 || (ns > 0 && ns < best) ? ns : best;
    }
    free(data);
    return best;
}
