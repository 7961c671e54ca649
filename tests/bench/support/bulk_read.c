/* Threads that call pread; see bulk_read.h. */
#include "tests/bench/support/bulk_read.h"

#include "tests/bench/support/bench.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_THREADS 16u

struct bench_read_team {
    uint32_t threads;
    pthread_t others[MAX_THREADS];
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    uint64_t round; /* under lock, as `working` and `end` */
    uint32_t working;
    bool end;
    int fd;
    const struct bench_piece *pieces;
    uint32_t n;
    atomic_uint next;
};

static void read_piece(int fd, const struct bench_piece *piece)
{
    for (uint32_t at = 0; at < piece->bytes;) {
        ssize_t n = pread(fd, piece->to + at, piece->bytes - at, (off_t)(piece->offset + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            bench_die("the pack can't be read: %s", n < 0 ? strerror(errno) : "it ends too early");
        at += (uint32_t)n;
    }
}

static void read_some(struct bench_read_team *team)
{
    uint32_t i;
    while ((i = atomic_fetch_add_explicit(&team->next, 1, memory_order_relaxed)) < team->n)
        read_piece(team->fd, &team->pieces[i]);
}

static void *other(void *arg)
{
    struct bench_read_team *team = arg;
    uint64_t seen = 0;
    pthread_mutex_lock(&team->lock);
    for (;;) {
        while (team->round == seen && !team->end)
            pthread_cond_wait(&team->work, &team->lock);
        if (team->end)
            break;
        seen = team->round;
        pthread_mutex_unlock(&team->lock);
        read_some(team);
        pthread_mutex_lock(&team->lock);
        if (--team->working == 0)
            pthread_cond_signal(&team->done);
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

struct bench_read_team *bench_read_team_open(uint32_t threads)
{
    struct bench_read_team *team = bench_alloc(sizeof *team);
    if (threads < 1 || threads > MAX_THREADS)
        bench_die("1 to %u threads can read, not %u", MAX_THREADS, threads);
    team->threads = threads;
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->work, NULL);
    pthread_cond_init(&team->done, NULL);
    for (uint32_t i = 0; i + 1 < threads; i++)
        if (pthread_create(&team->others[i], NULL, other, team) != 0)
            bench_die("no thread could be made");
    return team;
}

void bench_read_team_run(struct bench_read_team *team, int fd, const struct bench_piece *pieces, uint32_t n)
{
    pthread_mutex_lock(&team->lock);
    team->fd = fd;
    team->pieces = pieces;
    team->n = n;
    atomic_store(&team->next, 0);
    /* One piece is the caller's alone: waking somebody for nothing costs more than it could bring. */
    if (n > 1 && team->threads > 1) {
        team->working = team->threads - 1;
        team->round++;
        pthread_cond_broadcast(&team->work);
    }
    pthread_mutex_unlock(&team->lock);
    read_some(team);
    pthread_mutex_lock(&team->lock);
    while (team->working > 0)
        pthread_cond_wait(&team->done, &team->lock);
    pthread_mutex_unlock(&team->lock);
}

void bench_read_team_close(struct bench_read_team *team)
{
    pthread_mutex_lock(&team->lock);
    team->end = true;
    pthread_cond_broadcast(&team->work);
    pthread_mutex_unlock(&team->lock);
    for (uint32_t i = 0; i + 1 < team->threads; i++)
        pthread_join(team->others[i], NULL);
    pthread_cond_destroy(&team->work);
    pthread_cond_destroy(&team->done);
    pthread_mutex_destroy(&team->lock);
    free(team);
}
