/* See team.h.
 *
 * One 64-bit ticket = job number (high half) and pieces left (low half). A thread takes a piece by lowering the low
 * half with a compare-and-swap, so a thread that comes late can never take a piece of a job it hasn't seen. A job's
 * description is written before its ticket is published and stays until all its pieces are done; a thread reads it
 * only while it holds a piece. */
#include "kernels/cpu/team.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* About 50 us of pauses before a worker sleeps: longer than the gaps inside one batch, short beside a token. */
#define SPIN_PAUSES 1500
/* Pauses before the caller suspects that a worker isn't running. */
#define YIELD_PAUSES 20000

struct worker {
    struct cpu_team *team;
    uint32_t index;
    pthread_t thread;
};

struct cpu_team {
    _Alignas(64) _Atomic uint64_t ticket;
    _Alignas(64) _Atomic uint32_t done;
    _Alignas(64) _Atomic uint32_t wake; /* futex: low half of the job number, or the stop signal's bump */
    _Atomic uint32_t sleepers;
    _Atomic bool stop;
    _Alignas(64) _Atomic bool busy;
    cpu_work_fn work;
    void *arg;
    uint32_t pieces;
    uint32_t started; /* workers running */
    struct worker workers[];
};

static inline void pause_cpu(void)
{
    __builtin_ia32_pause();
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Takes pieces of the current job until none is left. */
static void work_off(struct cpu_team *team, uint32_t worker)
{
    uint64_t ticket = atomic_load_explicit(&team->ticket, memory_order_acquire);
    while ((uint32_t)ticket != 0) {
        if (!atomic_compare_exchange_weak_explicit(&team->ticket, &ticket, ticket - 1, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        team->work(team->arg, team->pieces - (uint32_t)ticket, worker);
        atomic_fetch_add_explicit(&team->done, 1, memory_order_release);
        ticket = atomic_load_explicit(&team->ticket, memory_order_acquire);
    }
}

static bool pieces_left(struct cpu_team *team)
{
    return (uint32_t)atomic_load_explicit(&team->ticket, memory_order_relaxed) != 0;
}

/* Sleeps unless a job or the end came since `seen` was read. A caller that publishes after our count went up wakes
 * us; one that published before it has changed `wake`. */
static void sleep_until_woken(struct cpu_team *team, uint32_t seen)
{
    atomic_fetch_add(&team->sleepers, 1);
    if (atomic_load(&team->wake) == seen)
        futex_wait(&team->wake, seen);
    atomic_fetch_sub(&team->sleepers, 1);
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;
    struct cpu_team *team = self->team;
    while (!atomic_load(&team->stop)) {
        uint32_t seen = atomic_load(&team->wake);
        work_off(team, self->index);
        int spins = 0;
        while (spins < SPIN_PAUSES && !pieces_left(team) &&
               atomic_load_explicit(&team->wake, memory_order_relaxed) == seen) {
            pause_cpu();
            spins++;
        }
        if (spins == SPIN_PAUSES)
            sleep_until_woken(team, seen);
    }
    return NULL;
}

static void signal_workers(struct cpu_team *team)
{
    atomic_fetch_add(&team->wake, 1);
    if (atomic_load(&team->sleepers) > 0)
        futex_wake_all(&team->wake);
}

void cpu_team_close(struct cpu_team *team)
{
    if (team == NULL)
        return;
    atomic_store(&team->stop, true);
    signal_workers(team);
    for (uint32_t i = 0; i < team->started; i++)
        pthread_join(team->workers[i].thread, NULL);
    free(team);
}

/* Starts a worker that takes no signals: they belong to the program's own threads. */
static int start_worker(struct worker *worker)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&worker->thread, NULL, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return rc;
    char name[16];
    snprintf(name, sizeof name, "lens-cpu-%u", worker->index % 1000);
    pthread_setname_np(worker->thread, name);
    return 0;
}

int cpu_team_open(uint32_t threads, struct cpu_team **out, struct lens_error *err)
{
    *out = NULL;
    size_t bytes = sizeof(struct cpu_team) + (threads - 1) * sizeof(struct worker);
    struct cpu_team *team = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (team == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a team of %u threads", threads);
    memset(team, 0, bytes);
    for (uint32_t i = 0; i + 1 < threads; i++) {
        struct worker *worker = &team->workers[i];
        worker->team = team;
        worker->index = i + 1;
        int rc = start_worker(worker);
        if (rc != 0) {
            cpu_team_close(team);
            return lens_error_set(err, -rc, "could not start worker thread %u of %u: %s", i + 1, threads - 1,
                                  strerror(rc));
        }
        team->started++;
    }
    *out = team;
    return 0;
}

static void wait_for_pieces(struct cpu_team *team, uint32_t n)
{
    for (int spins = 0; atomic_load_explicit(&team->done, memory_order_acquire) != n; spins++) {
        if (spins < YIELD_PAUSES)
            pause_cpu();
        else
            sched_yield();
    }
}

void cpu_team_run(struct cpu_team *team, cpu_work_fn work, void *arg, uint32_t n)
{
    bool alone = team->started == 0 || n < 2;
    if (alone || atomic_exchange_explicit(&team->busy, true, memory_order_acquire)) {
        for (uint32_t i = 0; i < n; i++)
            work(arg, i, 0);
        return;
    }
    uint64_t job = (atomic_load_explicit(&team->ticket, memory_order_relaxed) >> 32) + 1;
    team->work = work;
    team->arg = arg;
    team->pieces = n;
    atomic_store_explicit(&team->done, 0, memory_order_relaxed);
    atomic_store_explicit(&team->ticket, job << 32 | n, memory_order_release);
    signal_workers(team);
    work_off(team, 0);
    wait_for_pieces(team, n);
    atomic_store_explicit(&team->busy, false, memory_order_release);
}
