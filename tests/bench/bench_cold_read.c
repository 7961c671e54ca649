/* How to read lenses from a pack: threads that call pread against io_uring with a registered buffer.
 *
 *     bench_cold_read [--pack FILE.lens] [--tree FILE.tsv] [--rounds 7] [--piece-kib 1024]
 *
 * Reads W1 of 1, 8, 64 and 512 lenses, scattered (any lenses) and in families (siblings lie side by side and are read
 * in one go), three ways: from the page cache; from the disk into the page cache (the pages are dropped before each
 * round by posix_fadvise); from the disk past the page cache (O_DIRECT). No read is longer than --piece-kib. What a
 * disk or a host below us keeps in a cache of its own can't be dropped: "disk" is what this machine calls one. The
 * target is one buffer that is used again and again, as a loader's would be. Every way of reading is checked once
 * against the pack's checksums. The pack should be smaller than half of the memory. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/bulk_read.h"
#include "tests/bench/support/child.h"
#include "tests/bench/support/random.h"
#include "tests/bench/support/report.h"

#include "proto/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST       512u
#define MAX_ROUNDS 100u
#define SEED       11u

enum where { FROM_CACHE, FROM_DISK, DIRECT, PLACES };
static const char *const where_names[PLACES] = {"page cache", "disk", "disk, O_DIRECT"};

enum method { PREAD_1, PREAD_2, PREAD_4, URING, URING_WORKERS, METHODS };
static const char *const method_names[METHODS] = {"pread x1", "pread x2", "pread x4", "io_uring", "io_uring workers"};

struct bench {
    struct lens_pack *pack;
    int fd[PLACES]; /* -1: can't be measured here */
    unsigned char *buffer;
    size_t buffer_bytes;
    uint32_t piece_bytes, rounds;
    struct bench_read_team *team[3]; /* of PREAD_1 .. PREAD_4 */
    struct bench_uring *ring;
    uint64_t draws;
    uint32_t lenses[MOST]; /* of this round: lens k goes to buffer + k * w1_lens_bytes */
    struct bench_piece *pieces;
    uint32_t n_pieces;
};

/* ---- which lenses ----------------------------------------------------------------------------------------------- */

static uint32_t draw(struct bench *b, uint32_t bound)
{
    return bench_random_below(bench_stream_of("cold-read", SEED), b->draws++, bound);
}

/* n different lenses: steps that never meet, from a random start. */
static void choose_scattered(struct bench *b, uint32_t n)
{
    const uint32_t all = b->pack->lenses;
    const uint32_t start = draw(b, all), step = all / n;
    for (uint32_t k = 0; k < n; k++)
        b->lenses[k] = (start + k * step + (step > 1 ? draw(b, step) : 0)) % all;
}

/* Children of parents that a random start and equal steps lead to: whole families, but for the last one. */
static void choose_families(struct bench *b, uint32_t n)
{
    const struct lens_pack *pack = b->pack;
    uint32_t parent = draw(b, pack->lenses), chosen = 0;
    for (uint32_t tries = 0; chosen < n && tries < pack->lenses; tries++) {
        const uint32_t children = lens_pack_child_count(pack, parent);
        const int32_t *ids = pack->child_ids + pack->child_offsets[parent];
        for (uint32_t k = 0; k < children && chosen < n; k++)
            if (pack->parent[ids[k]] == (int32_t)parent)
                b->lenses[chosen++] = (uint32_t)ids[k];
        parent = (parent + (children > 0 ? 37 : 1)) % pack->lenses;
    }
    if (chosen < n)
        bench_die("%s has no %u lenses in families", pack->path, n);
}

/* Neighbours in one read, but none longer than a piece. */
static void cut_pieces(struct bench *b, uint32_t n)
{
    const uint64_t lens_bytes = b->pack->w1_lens_bytes;
    b->n_pieces = 0;
    for (uint32_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && b->lenses[end] == b->lenses[end - 1] + 1; end++)
            ;
        const uint64_t from = b->pack->w1_offset + b->lenses[first] * lens_bytes, bytes = (end - first) * lens_bytes;
        for (uint64_t at = 0; at < bytes; at += b->piece_bytes)
            b->pieces[b->n_pieces++] = (struct bench_piece){
                .offset = from + at,
                .to = b->buffer + first * lens_bytes + at,
                .bytes = (uint32_t)(bytes - at < b->piece_bytes ? bytes - at : b->piece_bytes),
            };
    }
}

/* ---- one round -------------------------------------------------------------------------------------------------- */

static void read_all(struct bench *b, enum method method, int fd)
{
    if (method <= PREAD_4)
        bench_read_team_run(b->team[method], fd, b->pieces, b->n_pieces);
    else
        bench_uring_run(b->ring, fd, b->pieces, b->n_pieces, method == URING_WORKERS);
}

/* For the disk: nothing of what is read may be in the page cache. */
static void prepare(struct bench *b, enum where where)
{
    for (uint32_t i = 0; where != FROM_CACHE && i < b->n_pieces; i++)
        posix_fadvise(b->fd[where], (off_t)b->pieces[i].offset, b->pieces[i].bytes, POSIX_FADV_DONTNEED);
}

/* The whole of W1, once: what is measured is then in the page cache, but long gone from the processor's. */
static void fill_page_cache(struct bench *b)
{
    const uint64_t total = b->pack->lenses * b->pack->w1_lens_bytes;
    for (uint64_t at = 0; at < total; at += b->buffer_bytes) {
        const uint64_t bytes = total - at < b->buffer_bytes ? total - at : b->buffer_bytes;
        b->n_pieces = 0;
        for (uint64_t k = 0; k < bytes; k += b->piece_bytes)
            b->pieces[b->n_pieces++] = (struct bench_piece){
                .offset = b->pack->w1_offset + at + k,
                .to = b->buffer + k,
                .bytes = (uint32_t)(bytes - k < b->piece_bytes ? bytes - k : b->piece_bytes),
            };
        bench_read_team_run(b->team[PREAD_2], b->pack->fd, b->pieces, b->n_pieces);
    }
}

/* W2 is in memory, so the checksum of what arrived tells all of it; log8's signs are read here. */
static void check(struct bench *b, uint32_t n, enum method method, enum where where)
{
    struct lens_error err = {0};
    void *w1 = bench_alloc(b->pack->w1_lens_bytes), *sign = bench_alloc(b->pack->w1_sign_bytes + 1);
    memset(b->buffer, 0x5a, n * b->pack->w1_lens_bytes);
    read_all(b, method, b->fd[where]);
    for (uint32_t k = 0; k < n; k++) {
        if (b->pack->w1_sign_bytes > 0 && lens_pack_read_w1(b->pack, b->lenses[k], 1, w1, sign, &err) < 0)
            bench_die("%s", err.text);
        if (!lens_pack_lens_intact(b->pack, b->lenses[k], b->buffer + k * b->pack->w1_lens_bytes, sign))
            bench_die("%s brought other bytes of lens %u than the pack has", method_names[method], b->lenses[k]);
    }
    free(w1);
    free(sign);
}

static void choose(struct bench *b, bool families, uint32_t n)
{
    if (families)
        choose_families(b, n);
    else
        choose_scattered(b, n);
    cut_pieces(b, n);
}

/* Medians in microseconds a lens of each method, the methods taking turns. */
static void measure(struct bench *b, enum where where, bool families, uint32_t n, double *us)
{
    double times[METHODS][MAX_ROUNDS];
    for (uint32_t round = 0; round < b->rounds; round++) {
        for (int m = 0; m < METHODS; m++) {
            if (m >= URING && b->ring == NULL)
                continue;
            choose(b, families, n);
            prepare(b, where);
            if (round == 0)
                check(b, n, (enum method)m, where);
            if (round == 0)
                prepare(b, where);
            uint64_t start = bench_now_ns();
            read_all(b, (enum method)m, b->fd[where]);
            times[m][round] = (double)(bench_now_ns() - start) / 1e3 / n;
        }
    }
    for (int m = 0; m < METHODS; m++)
        us[m] = m >= URING && b->ring == NULL ? 0 : bench_quantile(times[m], b->rounds, 0.5);
}

/* ---- the table -------------------------------------------------------------------------------------------------- */

static void report_row(struct bench *b, struct bench_report *report, enum where where, bool families, uint32_t n,
                       const double *us)
{
    printf("%-15s %-9s %5u", where_names[where], families ? "families" : "scattered", n);
    for (int m = 0; m < METHODS; m++) {
        if (us[m] == 0) {
            printf(" %17s", "-");
            continue;
        }
        const double rate = (double)b->pack->w1_lens_bytes / us[m];
        json_t *figure = bench_report_figure(report);
        printf(" %8.1f %8.0f", us[m], rate);
        bench_put_text(figure, "from", where_names[where]);
        bench_put_text(figure, "lenses_are", families ? "families" : "scattered");
        bench_put(figure, "lenses", n);
        bench_put_text(figure, "method", method_names[m]);
        bench_put(figure, "microseconds_a_lens", us[m]);
        bench_put(figure, "megabytes_per_second", rate);
        bench_put(figure, "of_pread_x1", us[PREAD_1] / us[m]);
    }
    putchar('\n');
    fflush(stdout);
}

static void run(struct bench *b, struct bench_report *report)
{
    static const uint32_t counts[] = {1, 8, 64, MOST};
    printf("%-15s %-9s %5s", "from", "lenses", "n");
    for (int m = 0; m < METHODS; m++)
        printf(" %17s", method_names[m]);
    printf("\n%-31s", "");
    for (int m = 0; m < METHODS; m++)
        printf(" %8s %8s", "us/lens", "MB/s");
    putchar('\n');
    fill_page_cache(b);
    for (int where = 0; where < PLACES; where++) {
        for (int families = 0; families < 2 && b->fd[where] >= 0; families++) {
            for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
                double us[METHODS];
                measure(b, (enum where)where, families != 0, counts[c], us);
                report_row(b, report, (enum where)where, families != 0, counts[c], us);
            }
        }
    }
}

static void open_files(struct bench *b, const char *path)
{
    struct lens_error err = {0};
    if (lens_pack_open(path, &b->pack, &err) < 0)
        bench_die("%s", err.text);
    if (b->pack->lenses < MOST)
        bench_die("%s has %u lenses, %u are needed", path, b->pack->lenses, MOST);
    b->fd[FROM_CACHE] = b->pack->fd;
    b->fd[FROM_DISK] = b->pack->fd;
    posix_fadvise(b->pack->fd, 0, 0, POSIX_FADV_RANDOM); /* only what is asked for: read-ahead would spoil the count */
    b->fd[DIRECT] = -1;
    if (b->pack->w1_offset % 4096 != 0 || b->pack->w1_lens_bytes % 4096 != 0 || b->piece_bytes % 4096 != 0)
        printf("O_DIRECT is left out: lenses of %" PRIu64 " bytes don't lie on pages\n", b->pack->w1_lens_bytes);
    else if ((b->fd[DIRECT] = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT)) < 0)
        printf("O_DIRECT is left out: %s\n", strerror(errno));
}

static void make_readers(struct bench *b)
{
    const char *why_not = NULL;
    const uint64_t lens_bytes = b->pack->w1_lens_bytes;
    b->buffer_bytes = MOST * lens_bytes;
    b->buffer = bench_alloc_huge(b->buffer_bytes);
    b->pieces = bench_alloc(MOST * (lens_bytes / b->piece_bytes + 2) * sizeof *b->pieces);
    for (uint32_t i = 0; i < 3; i++)
        b->team[i] = bench_read_team_open(1u << i);
    b->ring = bench_uring_open(b->buffer, b->buffer_bytes, &why_not);
    if (b->ring == NULL)
        printf("io_uring is left out: %s\n", why_not);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--pack=", "--tree=", "--rounds=", "--piece-kib=", NULL};
    bench_check_options(argc, argv, known);
    char real[4096];
    const char *path = bench_option(argc, argv, "--pack", NULL);
    if (path == NULL) {
        bench_real_tree("bf16", bench_tree_path(argc, argv), real, sizeof real);
        path = real;
    }
    struct bench b = {.piece_bytes = (uint32_t)bench_option_u64(argc, argv, "--piece-kib", 1024) << 10,
                      .rounds = (uint32_t)bench_option_u64(argc, argv, "--rounds", 7)};
    if (b.rounds < 1 || b.rounds > MAX_ROUNDS || b.piece_bytes < 4096)
        bench_die("--rounds goes from 1 to %u, --piece-kib from 4", MAX_ROUNDS);
    struct bench_report report = bench_report_begin("cold_read");
    open_files(&b, path);
    make_readers(&b);
    bench_put_text(report.settings, "pack", path);
    bench_put(report.settings, "lens_bytes", (double)b.pack->w1_lens_bytes);
    bench_put(report.settings, "piece_bytes", b.piece_bytes);
    bench_put(report.settings, "rounds", b.rounds);
    printf("%s: W1 of a lens is %" PRIu64 " bytes; medians of %u rounds\n", path, b.pack->w1_lens_bytes, b.rounds);
    run(&b, &report);
    for (uint32_t i = 0; i < 3; i++)
        bench_read_team_close(b.team[i]);
    bench_uring_close(b.ring);
    bench_free_huge(b.buffer, b.buffer_bytes);
    free(b.pieces);
    if (b.fd[DIRECT] >= 0)
        close(b.fd[DIRECT]);
    lens_pack_close(b.pack);
    bench_report_end(&report);
    return 0;
}
