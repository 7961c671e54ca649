/* See card.h. */
#include "tests/gpu/bench/card.h"

#include "tests/bench/support/bench.h"
#include "tests/gpu/bench/card_private.h"
#include "tests/gpu/bench/card_read.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void card_must(cudaError_t error, const char *what)
{
    if (error != cudaSuccess)
        bench_die("%s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

static void launch(struct card *card, const void *kernel, uint64_t pieces)
{
    struct card_read_args args = {
        .buffer = card->buffer, .of = card->pieces, .first = card->next, .pieces = pieces, .sum = card->sum};
    void *arguments[] = {&args};
    card->next = (card->next + pieces) % card->pieces;
    card_must(
        cudaLaunchKernel(kernel, (dim3){card->blocks, 1, 1}, (dim3){CARD_THREADS, 1, 1}, arguments, 0, card->stream),
        "launching a kernel");
}

static void make_buffers(struct card *card, uint64_t bytes)
{
    int per_multiprocessor = 0;
    card_must(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, (const void *)card_read,
                                                            (int)CARD_THREADS, 0),
              "asking for the occupancy");
    card->blocks = card->facts.multiprocessors * (uint32_t)per_multiprocessor;
    card->pieces = bytes / CARD_PIECE + 1;
    card_must(cudaMalloc((void **)&card->buffer, card->pieces * CARD_PIECE), "device memory to read");
    card_must(cudaMalloc((void **)&card->sum, sizeof *card->sum), "device memory for a sum");
    card_must(cudaMemset(card->sum, 0, sizeof *card->sum), "clearing a sum");
    launch(card, (const void *)card_fill, card->pieces);
    card_must(cudaStreamSynchronize(card->stream), "filling the buffer");
}

struct card *card_open(uint32_t device, uint64_t buffer_bytes, char *why, uint32_t why_size)
{
    struct cudaDeviceProp prop;
    int count = 0, least = 0, greatest = 0, driver = 0, runtime = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || device >= (uint32_t)count) {
        snprintf(why, why_size, "%s", error != cudaSuccess ? cudaGetErrorString(error) : "no card of that number");
        return NULL;
    }
    struct card *card = bench_alloc(sizeof *card);
    card_must(cudaSetDevice((int)device), "choosing the card");
    card_must(cudaGetDeviceProperties(&prop, (int)device), "asking for the card's properties");
    card_must(cudaDriverGetVersion(&driver), "asking for the driver's version");
    card_must(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version");
    snprintf(card->facts.name, sizeof card->facts.name, "%.120s", prop.name);
    card->facts.multiprocessors = (uint32_t)prop.multiProcessorCount;
    card->facts.major = (uint32_t)prop.major;
    card->facts.minor = (uint32_t)prop.minor;
    card->facts.driver = (uint32_t)driver;
    card->facts.runtime = (uint32_t)runtime;
    card->facts.memory_bytes = prop.totalGlobalMem;
    card->facts.cache_bytes = (uint64_t)prop.l2CacheSize;
    card_must(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for priorities");
    card_must(cudaStreamCreateWithPriority(&card->stream, cudaStreamNonBlocking, least), "making a stream");
    card_must(cudaEventCreateWithFlags(&card->from, cudaEventDefault), "making an event");
    card_must(cudaEventCreateWithFlags(&card->to, cudaEventDefault), "making an event");
    make_buffers(card, buffer_bytes);
    return card;
}

void card_close(struct card *card)
{
    card_gemm_close(card);
    cudaFree(card->buffer);
    cudaFree(card->sum);
    cudaEventDestroy(card->from);
    cudaEventDestroy(card->to);
    cudaStreamDestroy(card->stream);
    free(card);
}

void card_describe(const struct card *card, struct card_facts *out)
{
    *out = card->facts;
}

void card_begin(struct card *card)
{
    card_must(cudaEventRecord(card->from, card->stream), "recording an event");
}

double card_end(struct card *card)
{
    float milliseconds = 0;
    card_must(cudaEventRecord(card->to, card->stream), "recording an event");
    card_must(cudaEventSynchronize(card->to), "waiting for the card");
    card_must(cudaEventElapsedTime(&milliseconds, card->from, card->to), "taking the time");
    return (double)milliseconds * 1e6;
}

double card_read_rate(struct card *card, uint64_t bytes, uint32_t rounds)
{
    uint64_t pieces = (bytes + CARD_PIECE - 1) / CARD_PIECE;
    double *rate = bench_alloc(rounds * sizeof *rate);
    launch(card, (const void *)card_read, pieces);
    for (uint32_t i = 0; i < rounds; i++) {
        card_begin(card);
        launch(card, (const void *)card_read, pieces);
        rate[i] = (double)(pieces * CARD_PIECE) / card_end(card) * 1e9;
    }
    double median = bench_quantile(rate, rounds, 0.5);
    free(rate);
    return median;
}

double card_copy_rate(struct card *card, uint64_t bytes, uint32_t rounds)
{
    void *host = NULL;
    uint64_t most = card->pieces * CARD_PIECE, size = bytes < most ? bytes : most;
    double *rate = bench_alloc(rounds * sizeof *rate);
    card_must(cudaHostAlloc(&host, size, cudaHostAllocPortable), "page-locked memory");
    for (uint64_t i = 0; i < size / 8; i++)
        ((uint64_t *)host)[i] = i * 0x9e3779b97f4a7c15u;
    for (uint32_t i = 0; i < rounds + 1; i++) {
        card_begin(card);
        card_must(cudaMemcpyAsync(card->buffer, host, size, cudaMemcpyHostToDevice, card->stream), "copying");
        double ns = card_end(card);
        if (i > 0)
            rate[i - 1] = (double)size / ns * 1e9;
    }
    double median = bench_quantile(rate, rounds, 0.5);
    card_must(cudaFreeHost(host), "giving memory back");
    free(rate);
    return median;
}
