/* io_uring, compiled in where liburing is there (BENCH_URING); see bulk_read.h. */
#include "tests/bench/support/bulk_read.h"

#include "tests/bench/support/bench.h"

#ifdef BENCH_URING

#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define DEPTH 64u /* reads in flight */

struct bench_uring {
    struct io_uring ring;
    uint32_t *done; /* bytes of each piece that are there; grows */
    uint32_t capacity;
};

struct bench_uring *bench_uring_open(void *buffer, size_t bytes, const char **why_not)
{
    static char reason[128];
    struct bench_uring *u = bench_alloc(sizeof *u);
    struct iovec whole = {buffer, bytes};
    *why_not = reason;
    int r = io_uring_queue_init(DEPTH, &u->ring, 0);
    if (r < 0) {
        snprintf(reason, sizeof reason, "the kernel gives no ring: %s", strerror(-r));
        free(u);
        return NULL;
    }
    r = io_uring_register_buffers(&u->ring, &whole, 1);
    if (r == 0)
        return u;
    snprintf(reason, sizeof reason, "the buffer can't be registered: %s (ulimit -l?)", strerror(-r));
    io_uring_queue_exit(&u->ring);
    free(u);
    return NULL;
}

static bool submit(struct bench_uring *u, int fd, const struct bench_piece *pieces, uint32_t i, bool workers)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe == NULL)
        return false;
    const struct bench_piece *piece = &pieces[i];
    io_uring_prep_read_fixed(sqe, fd, piece->to + u->done[i], piece->bytes - u->done[i], piece->offset + u->done[i], 0);
    if (workers)
        io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
    io_uring_sqe_set_data64(sqe, i);
    return true;
}

static void make_room(struct bench_uring *u, uint32_t n)
{
    if (n > u->capacity) {
        free(u->done);
        u->done = bench_alloc(n * sizeof *u->done);
        u->capacity = n;
    }
    memset(u->done, 0, n * sizeof *u->done);
}

/* Takes one completion; true when its piece is whole. A short read goes on where it stopped. */
static bool complete(struct bench_uring *u, int fd, const struct bench_piece *pieces, bool workers)
{
    struct io_uring_cqe *cqe;
    int r = io_uring_wait_cqe(&u->ring, &cqe);
    if (r < 0)
        bench_die("io_uring gives no completion: %s", strerror(-r));
    const uint32_t i = (uint32_t)cqe->user_data;
    r = cqe->res;
    io_uring_cqe_seen(&u->ring, cqe);
    if (r <= 0)
        bench_die("the pack can't be read: %s", r < 0 ? strerror(-r) : "it ends too early");
    u->done[i] += (uint32_t)r;
    if (u->done[i] == pieces[i].bytes)
        return true;
    if (!submit(u, fd, pieces, i, workers) || io_uring_submit(&u->ring) < 0)
        bench_die("io_uring takes no further read");
    return false;
}

void bench_uring_run(struct bench_uring *u, int fd, const struct bench_piece *pieces, uint32_t n, bool workers)
{
    uint32_t next = 0, flying = 0;
    make_room(u, n);
    while (next < n || flying > 0) {
        uint32_t before = next;
        while (next < n && flying < DEPTH && submit(u, fd, pieces, next, workers)) {
            next++;
            flying++;
        }
        if (next > before && io_uring_submit(&u->ring) < 0)
            bench_die("io_uring takes no reads");
        flying -= complete(u, fd, pieces, workers);
    }
}

void bench_uring_close(struct bench_uring *u)
{
    if (u == NULL)
        return;
    io_uring_queue_exit(&u->ring);
    free(u->done);
    free(u);
}

#else

struct bench_uring *bench_uring_open(void *buffer, size_t bytes, const char **why_not)
{
    (void)buffer;
    (void)bytes;
    *why_not = "built without liburing (install liburing-dev, then build anew)";
    return NULL;
}

void bench_uring_run(struct bench_uring *u, int fd, const struct bench_piece *pieces, uint32_t n, bool workers)
{
    (void)u;
    (void)fd;
    (void)pieces;
    (void)n;
    (void)workers;
    bench_die("no ring is open");
}

void bench_uring_close(struct bench_uring *u)
{
    (void)u;
}

#endif
