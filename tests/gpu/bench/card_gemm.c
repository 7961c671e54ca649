/* cuBLAS beside our kernels: see card.h. Compiled without it for the emulated card, and where the
 * toolkit has none. */
#include "tests/bench/support/bench.h"
#include "tests/gpu/bench/card_private.h"

#include <math.h>
#include <stdlib.h>

#ifndef GPU_BENCH_CUBLAS

double card_gemm_ns(struct card *card, uint32_t outputs, uint32_t dim, uint32_t rows, uint32_t rounds)
{
    (void)card, (void)outputs, (void)dim, (void)rows, (void)rounds;
    return NAN;
}

void card_gemm_close(struct card *card)
{
    (void)card;
}

#else

#include "tests/gpu/bench/card_read.h"

#include <cublas_v2.h>

static void must(cublasStatus_t status, const char *what)
{
    if (status != CUBLAS_STATUS_SUCCESS)
        bench_die("cuBLAS, %s: %s", what, cublasGetStatusString(status));
}

/* Weights come from the card's buffer, the next ones each time: [outputs][dim] bf16, any bits (NaN is as fast). */
double card_gemm_ns(struct card *card, uint32_t outputs, uint32_t dim, uint32_t rows, uint32_t rounds)
{
    uint64_t weights = (uint64_t)outputs * dim * 2, sets = card->pieces * CARD_PIECE / weights;
    const float one = 1, zero = 0;
    void *x = NULL, *y = NULL;
    if (sets < 2)
        return NAN;
    if (card->gemm == NULL) {
        must(cublasCreate((cublasHandle_t *)&card->gemm), "opening");
        must(cublasSetStream(card->gemm, card->stream), "choosing a stream");
    }
    double *ns = bench_alloc(rounds * sizeof *ns);
    card_must(cudaMalloc(&x, (uint64_t)rows * dim * 2), "device memory for columns");
    card_must(cudaMalloc(&y, (uint64_t)rows * outputs * 4), "device memory for sums");
    card_must(cudaMemcpy(x, card->buffer, (uint64_t)rows * dim * 2, cudaMemcpyDeviceToDevice), "random columns");
    for (uint32_t i = 0; i < rounds + 2; i++) {
        const uint8_t *w = card->buffer + i % sets * weights;
        card_begin(card);
        must(cublasGemmEx(card->gemm, CUBLAS_OP_T, CUBLAS_OP_N, (int)outputs, (int)rows, (int)dim, &one, w, CUDA_R_16BF,
                          (int)dim, x, CUDA_R_16BF, (int)dim, &zero, y, CUDA_R_32F, (int)outputs, CUBLAS_COMPUTE_32F,
                          CUBLAS_GEMM_DEFAULT),
             "a product");
        double took = card_end(card);
        if (i >= 2)
            ns[i - 2] = took;
    }
    double median = bench_quantile(ns, rounds, 0.5);
    card_must(cudaFree(x), "giving memory back");
    card_must(cudaFree(y), "giving memory back");
    free(ns);
    return median;
}

void card_gemm_close(struct card *card)
{
    if (card->gemm != NULL)
        cublasDestroy(card->gemm);
}

#endif
