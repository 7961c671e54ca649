/* P11: a HatCat directory of 7,947 lenses at D=2560 into one pack file.
 *
 *     bench_import [--hatcat DIR] [--tree FILE.tsv] [--dtype bf16] [--rounds 2] [--keep]
 *
 * DIR is made by synth when it has no pack.json (default: hatcat-real beside this program; bf16, 5.3 GB). Each round
 * copies the same files into one, and then imports them; both begin with the files out of the page cache and end with
 * the result on the disk (fsync). The ratio is import speed over copy speed, in bytes read per second. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/child.h"
#include "tests/bench/support/report.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK      (1u << 20)
#define MAX_ROUNDS 16u

/* nftw has no argument for its callback: what it works on is set before each walk. */
static struct {
    int copy_to; /* -1 = only forget the pages */
    uint64_t bytes;
    unsigned char *block;
} walk;

static void copy_file(const char *path, int fd)
{
    ssize_t n;
    while ((n = read(fd, walk.block, BLOCK)) > 0) {
        if (write(walk.copy_to, walk.block, (size_t)n) != n)
            bench_die("the copy can't be written: %s", strerror(errno));
    }
    if (n < 0)
        bench_die("%s can't be read: %s", path, strerror(errno));
}

static int visit(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)where;
    if (kind != FTW_F)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        bench_die("%s can't be opened: %s", path, strerror(errno));
    walk.bytes += (uint64_t)about->st_size;
    if (walk.copy_to >= 0)
        copy_file(path, fd);
    else
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    return 0;
}

static uint64_t walk_files(const char *directory, int copy_to)
{
    walk.copy_to = copy_to;
    walk.bytes = 0;
    if (nftw(directory, visit, 32, FTW_PHYS) != 0)
        bench_die("%s can't be walked: %s", directory, strerror(errno));
    return walk.bytes;
}

static double copy_seconds(const char *directory, const char *out)
{
    walk_files(directory, -1);
    uint64_t start = bench_now_ns();
    int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        bench_die("%s can't be written: %s", out, strerror(errno));
    walk_files(directory, fd);
    if (fsync(fd) != 0)
        bench_die("%s can't be written: %s", out, strerror(errno));
    close(fd);
    double seconds = (double)(bench_now_ns() - start) * 1e-9;
    unlink(out);
    return seconds;
}

static double import_seconds(const char *directory, const char *out, const char *dtype, uint64_t *peak_kib)
{
    char lensctl[4096], log[4096];
    bench_path_beside("../lensctl", lensctl, sizeof lensctl);
    bench_path_beside("import.log", log, sizeof log);
    const char *argv[] = {lensctl, "pack", "import", "hatcat", directory, "-o", out, "--dtype", dtype, NULL};
    walk_files(directory, -1);
    uint64_t start = bench_now_ns();
    bench_run(argv, log, peak_kib);
    return (double)(bench_now_ns() - start) * 1e-9;
}

static void make_source(const char *directory, const char *tree)
{
    char mark[4096], synth[4096];
    snprintf(mark, sizeof mark, "%s/pack.json", directory);
    if (access(mark, R_OK) == 0)
        return;
    printf("making %s ..\n", directory);
    bench_path_beside("synth", synth, sizeof synth);
    const char *argv[] = {synth, "--dtype", "bf16", "--hatcat", directory, tree ? "--tree" : NULL, tree, NULL};
    bench_run(argv, NULL, NULL);
    sync();
}

static void show(struct bench_report *report, double bytes, double *copies, double *imports, uint32_t rounds,
                 uint64_t peak_kib, double out_bytes)
{
    json_t *figure = bench_report_figure(report);
    double copy = bench_quantile(copies, rounds, 0.5), import = bench_quantile(imports, rounds, 0.5);
    printf("P11: %.2f GB in, %.2f GB out, %u rounds\n", bytes * 1e-9, out_bytes * 1e-9, rounds);
    printf("copy    %7.1f s  %6.2f GB/s\nimport  %7.1f s  %6.2f GB/s = %.2f of the copy (goal 0.5)\n", copy,
           bytes / copy * 1e-9, import, bytes / import * 1e-9, copy / import);
    printf("peak memory %.0f MB (goal 200)\n", (double)peak_kib * 1024e-6);
    bench_put(figure, "bytes", bytes);
    bench_put(figure, "bytes_written", out_bytes);
    bench_put(figure, "floor_seconds", copy);
    bench_put(figure, "seconds", import);
    bench_put(figure, "bytes_per_second", bytes / import);
    bench_put(figure, "ratio", copy / import);
    bench_put(figure, "peak_memory_bytes", (double)peak_kib * 1024);
    bench_put(figure, "fastest_seconds", imports[0]);
    bench_put(figure, "slowest_seconds", imports[rounds - 1]);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--hatcat=", "--tree=", "--dtype=", "--rounds=", "--keep", NULL};
    bench_check_options(argc, argv, known);
    char beside[4096], pack[4096], copy[4096];
    bench_path_beside("hatcat-real", beside, sizeof beside);
    bench_path_beside("imported.lens", pack, sizeof pack);
    bench_path_beside("import.copy", copy, sizeof copy);
    const char *directory = bench_option(argc, argv, "--hatcat", beside);
    const char *dtype = bench_option(argc, argv, "--dtype", "bf16");
    uint32_t rounds = (uint32_t)bench_option_u64(argc, argv, "--rounds", 2);
    if (rounds < 1 || rounds > MAX_ROUNDS)
        bench_die("--rounds goes from 1 to %u", MAX_ROUNDS);
    make_source(directory, bench_tree_path(argc, argv));
    struct bench_report report = bench_report_begin("import");
    double copies[MAX_ROUNDS], imports[MAX_ROUNDS];
    struct stat out = {0};
    uint64_t peak = 0;
    walk.block = bench_alloc(BLOCK);
    uint64_t bytes = walk_files(directory, -1);
    for (uint32_t round = 0; round < rounds; round++) {
        uint64_t one = 0;
        copies[round] = copy_seconds(directory, copy);
        imports[round] = import_seconds(directory, pack, dtype, &one);
        peak = one > peak ? one : peak;
    }
    if (stat(pack, &out) != 0)
        bench_die("%s isn't there after the import", pack);
    bench_put_text(report.settings, "dtype", dtype);
    bench_put(report.settings, "rounds", rounds);
    show(&report, (double)bytes, copies, imports, rounds, peak, (double)out.st_size);
    bench_report_end(&report);
    if (!bench_has_flag(argc, argv, "--keep"))
        unlink(pack);
    free(walk.block);
    return 0;
}
