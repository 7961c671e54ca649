/* P1: bytes per second that plain vector loads read from memory, with one and with more threads.
 *
 *     bench_read [--threads 2] [--buffer-mib 1536] [--rounds 9]
 *
 * Every way of reading is measured in turn in each round; the fastest median is the machine's figure. The whole is
 * done twice: what differs between the two is the machine's own noise. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/read_rate.h"
#include "tests/bench/support/report.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_WAYS   16
#define MAX_ROUNDS 1000

/* Fills median[] of each way; returns the fastest. */
static uint32_t measure(struct bench_reader *reader, uint64_t bytes, uint32_t rounds, double *median)
{
    static double rates[MAX_WAYS][MAX_ROUNDS];
    uint32_t ways = bench_reader_ways(), best = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t way = 0; way < ways; way++) {
            bench_reader_choose(reader, way);
            rates[way][round] = bench_reader_pass(reader, bytes);
        }
    }
    for (uint32_t way = 0; way < ways; way++) {
        median[way] = bench_quantile(rates[way], rounds, 0.5);
        if (median[way] > median[best])
            best = way;
    }
    return best;
}

static void run(struct bench_report *report, uint32_t threads, uint64_t bytes, uint32_t rounds)
{
    double first[MAX_WAYS], second[MAX_WAYS];
    struct bench_reader *reader = bench_reader_open(threads, bytes);
    uint32_t best = measure(reader, bytes / 2, rounds, first);
    uint32_t again = measure(reader, bytes / 2, rounds, second);
    for (uint32_t way = 0; way < bench_reader_ways(); way++) {
        json_t *figure = bench_report_figure(report);
        printf("%7u  %-42s %7.1f  %7.1f%s\n", threads, bench_reader_way_name(way), first[way] * 1e-9,
               second[way] * 1e-9, way == best ? "  <" : "");
        bench_put(figure, "threads", threads);
        bench_put_text(figure, "way", bench_reader_way_name(way));
        bench_put(figure, "bytes_per_second", first[way]);
        bench_put(figure, "bytes_per_second_again", second[way]);
        json_object_set_new(figure, "fastest", json_boolean(way == best));
    }
    printf("%7u  P1 = %.1f GB/s, again %.1f: the noise is %.1f%%\n\n", threads, first[best] * 1e-9,
           second[again] * 1e-9, 100 * (second[again] / first[best] - 1));
    bench_reader_close(reader);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--threads=", "--buffer-mib=", "--rounds=", NULL};
    bench_check_options(argc, argv, known);
    uint32_t threads = (uint32_t)bench_option_u64(argc, argv, "--threads", bench_cpus());
    uint64_t bytes = bench_option_u64(argc, argv, "--buffer-mib", BENCH_READ_BUFFER >> 20) << 20;
    uint32_t rounds = (uint32_t)bench_option_u64(argc, argv, "--rounds", 9);
    if (rounds < 1 || rounds > MAX_ROUNDS || bytes < 64u << 20)
        bench_die("--rounds goes from 1 to %d, --buffer-mib from 64", MAX_ROUNDS);
    struct bench_report report = bench_report_begin("read");
    bench_put(report.settings, "buffer_bytes", (double)bytes);
    bench_put(report.settings, "rounds", rounds);
    bench_cpus();
    bench_pin(0);
    printf("P1: pure reads over %llu MiB, median of %u rounds, GB/s\n", (unsigned long long)bytes >> 20, rounds);
    printf("threads  way                                          first   second\n");
    run(&report, 1, bytes, rounds);
    if (threads > 1)
        run(&report, threads, bytes, rounds);
    bench_report_end(&report);
    return 0;
}
