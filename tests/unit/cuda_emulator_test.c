/* The emulated card itself (tests/gpu/emulator): what it answers, and that it catches what a card would punish. */
#include "proto/dtype.h"
#include "tests/gpu/emulator/emulator.h"
#include "tests/gpu/emulator/test_kernels.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

void et_barriers(struct emulator_test *t);
void et_racy(struct emulator_test *t);
void et_votes(struct emulator_test *t);
void et_products(struct emulator_test *t);
void et_last_block(struct emulator_test *t);
void et_atomics(struct emulator_test *t);
void et_shared_poison(struct emulator_test *t);
void et_half_a_barrier(struct emulator_test *t);
void et_half_a_warp(struct emulator_test *t);
void et_two_collectives(struct emulator_test *t);
void et_unaligned(struct emulator_test *t);
void et_count_down(struct emulator_test *t);
void et_note(struct emulator_test *t);

typedef void (*test_kernel)(struct emulator_test *);

static const uint32_t threads = EMULATOR_TEST_THREADS;
static struct emulator_test *on_device;

static dim3 flat(unsigned x)
{
    return (dim3){x, 1, 1};
}

static struct emulator_test *clean(void)
{
    assert_int_equal(cudaMemset(on_device, 0, sizeof(*on_device)), cudaSuccess);
    return on_device; /* which is the host's memory too */
}

static cudaError_t launch(test_kernel kernel, unsigned blocks)
{
    void *arguments[] = {&on_device};
    return cudaLaunchKernel((const void *)kernel, flat(blocks), flat(threads), arguments, 0, NULL);
}

static int set_up(void **state)
{
    (void)state;
    emulator_reset();
    return cudaMalloc((void **)&on_device, sizeof(*on_device)) == cudaSuccess ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    unsetenv("LENSD_EMULATOR_FAULTS");
    unsetenv("LENSD_EMULATOR_DEVICES");
    unsetenv("LENSD_EMULATOR_MEMORY");
    unsetenv("LENSD_EMULATOR_CAPABILITY");
    emulator_reset();
    cudaSetDevice(0);
    cudaFree(on_device);
    return emulator_things_alive() == 0 ? 0 : -1;
}

/* ---- threads of a block ----------------------------------------------------------------------------------------- */

/* What et_barriers should leave in every block. */
static void pass_around(uint32_t *cells, uint32_t steps)
{
    uint32_t seen[EMULATOR_TEST_THREADS];
    for (uint32_t i = 0; i < threads; i++)
        cells[i] = i;
    for (uint32_t step = 0; step < steps; step++) {
        for (uint32_t i = 0; i < threads; i++)
            seen[i] = cells[(i + threads - 1) % threads];
        for (uint32_t i = 0; i < threads; i++)
            cells[i] += seen[i];
    }
}

static void barriers_hold_all_threads_of_a_block(void **state)
{
    (void)state;
    uint32_t expected[EMULATOR_TEST_THREADS];
    struct emulator_test *t = clean();
    t->steps = 20;
    pass_around(expected, t->steps);
    assert_int_equal(launch(et_barriers, 7), cudaSuccess);
    for (uint32_t block = 0; block < 7; block++)
        assert_memory_equal(t->out + block * threads, expected, sizeof(expected));
}

static void missing_barrier_gives_other_results(void **state)
{
    (void)state;
    uint32_t expected[EMULATOR_TEST_THREADS];
    struct emulator_test *t = clean();
    t->steps = 20;
    pass_around(expected, t->steps);
    assert_int_equal(launch(et_racy, 1), cudaSuccess);
    assert_memory_not_equal(t->out, expected, sizeof(expected));
}

static void votes_and_shuffles_are_as_cuda_defines_them(void **state)
{
    (void)state;
    struct emulator_test *t = clean();
    t->steps = 77;
    assert_int_equal(launch(et_votes, 1), cudaSuccess);
    for (uint32_t i = 0; i < threads; i++) {
        uint32_t ballot = 0, warp = i / 32 * 32, lane = i % 32;
        for (uint32_t l = 0; l < 32; l++)
            ballot |= (uint32_t)((warp + l) % 3 == 0) << l;
        const uint32_t expected[8] = {1, 0, 77, ballot, i ^ 5, lane >= 3 ? i - 3 : i, warp + 7, 1};
        assert_memory_equal(t->out + i * 8, expected, sizeof(expected));
    }
}

static void last_block_sees_what_all_blocks_wrote(void **state)
{
    (void)state;
    struct emulator_test *t = clean();
    assert_int_equal(launch(et_last_block, 37), cudaSuccess);
    assert_int_equal(t->out[0], 36 * 37 / 2);
}

static void atomics_lose_nothing(void **state)
{
    (void)state;
    struct emulator_test *t = clean();
    t->out[2] = UINT32_MAX;
    assert_int_equal(launch(et_atomics, 3), cudaSuccess);
    const uint32_t expected[5] = {3 * 255 * 128, 255, 0, UINT32_MAX, 3 * 256};
    assert_memory_equal(t->out, expected, sizeof(expected));
}

static void shared_memory_holds_poison_at_the_start_of_each_block(void **state)
{
    (void)state;
    struct emulator_test *t = clean();
    assert_int_equal(launch(et_shared_poison, 3), cudaSuccess);
    for (uint32_t i = 0; i < 3 * threads; i++)
        assert_int_equal(t->out[i], 0xCDCDCDCDu);
}

/* ---- matrix units ----------------------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static double bf16_value(uint32_t word, unsigned half)
{
    uint32_t bits = half != 0 ? word & 0xffff0000u : word << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return (double)value;
}

/* a[m][k] of the fragments, k of `per_word` to a word: the tables of the PTX manual, read the other way round. */
static void find_a(unsigned m, unsigned k, unsigned per_word, unsigned *lane, unsigned *word, unsigned *part)
{
    *lane = m % 8 * 4 + k % (4 * per_word) / per_word;
    *word = m / 8 + 2 * (k / (4 * per_word));
    *part = k % per_word;
}

static double product_of_bf16(const struct emulator_test_product *p, unsigned m, unsigned n, double *magnitude)
{
    double sum = 0;
    for (unsigned k = 0; k < 16; k++) {
        unsigned lane, word, part, row_lane = n * 4 + k % 8 / 2;
        find_a(m, k, 2, &lane, &word, &part);
        double term = bf16_value(p->a[lane][word], part) * bf16_value(p->b[row_lane][k / 8], part);
        sum += term;
        *magnitude += fabs(term);
    }
    return sum;
}

static int64_t product_of_s8(const struct emulator_test_product *p, unsigned m, unsigned n)
{
    int64_t sum = 0;
    for (unsigned k = 0; k < 32; k++) {
        unsigned lane, word, part, row_lane = n * 4 + k % 16 / 4;
        find_a(m, k, 4, &lane, &word, &part);
        sum += (int64_t)(int8_t)(p->a[lane][word] >> 8 * part) * (int8_t)(p->b[row_lane][k / 16] >> 8 * part);
    }
    return sum;
}

/* Two random bf16 of sizes around 1; read as four bytes they are as good as any. */
static uint32_t random_pair(uint64_t *random)
{
    uint32_t pair = 0;
    for (unsigned half = 0; half < 2; half++) {
        uint32_t sign = next_random(random) & 1, exponent = 120 + next_random(random) % 16;
        pair = pair << 16 | sign << 15 | exponent << 7 | (next_random(random) & 127);
    }
    return pair;
}

static void fill_product(struct emulator_test_product *p, uint64_t *random)
{
    for (unsigned lane = 0; lane < 32; lane++) {
        for (unsigned i = 0; i < 4; i++) {
            p->a[lane][i] = random_pair(random);
            p->f32[lane][i] = (float)next_random(random) / 2147483648.0f;
            p->s32[lane][i] = (int32_t)next_random(random) / 4;
        }
        for (unsigned i = 0; i < 2; i++)
            p->b[lane][i] = random_pair(random);
    }
}

static void check_product(const struct emulator_test_product *before, const struct emulator_test_product *after)
{
    for (unsigned m = 0; m < 16; m++)
        for (unsigned n = 0; n < 8; n++) {
            unsigned lane = m % 8 * 4 + n / 2, word = m / 8 * 2 + n % 2;
            double start = (double)before->f32[lane][word], magnitude = fabs(start);
            double expected = start + product_of_bf16(before, m, n, &magnitude);
            assert_true(fabs((double)after->f32[lane][word] - expected) <= 17 * magnitude * 0x1p-24);
            assert_int_equal(after->s32[lane][word], before->s32[lane][word] + product_of_s8(before, m, n));
        }
}

static void products_are_those_of_plain_loops(void **state)
{
    (void)state;
    uint64_t random = emulator_seed();
    struct emulator_test *t = clean();
    struct emulator_test_product before[EMULATOR_TEST_PRODUCTS];
    for (unsigned i = 0; i < EMULATOR_TEST_PRODUCTS; i++)
        fill_product(&before[i], &random);
    memcpy(t->products, before, sizeof(before));
    void *arguments[] = {&on_device};
    assert_int_equal(
        cudaLaunchKernel((const void *)et_products, flat(EMULATOR_TEST_PRODUCTS), flat(32), arguments, 0, NULL),
        cudaSuccess);
    for (unsigned i = 0; i < EMULATOR_TEST_PRODUCTS; i++)
        check_product(&before[i], &t->products[i]);
}

static void small_floats_convert_exactly(void **state)
{
    (void)state;
    assert_true(lens_f32_from_f16(0x3c00) == 1.0f && lens_f32_from_f16(0xc000) == -2.0f);
    assert_true(lens_f32_from_f16(0x0001) == 0x1p-24f && lens_f32_from_f16(0x7bff) == 65504.0f);
    assert_true(isinf(lens_f32_from_f16(0x7c00)) && isnan(lens_f32_from_f16(0x7e00)));
    assert_true(lens_f32_from_f16(0x83ff) == -1023 * 0x1p-24f);
    assert_int_equal(emulator_fma_bf16(0x3f80, 0x4000, 0x4040), 0x40a0);          /* 1 * 2 + 3 = 5 */
    assert_int_equal(emulator_fma_bf16(0x3f80, 0x3f80, 0x3b80), 0x3f80);          /* 1 + 2^-8: half to even */
    assert_int_equal(emulator_fma_bf16(0x3f81, 0x3f80, 0x3b80), 0x3f82);          /* 1 + 2^-7 + 2^-8: up to even */
    assert_int_equal(emulator_fma_bf16(0x3f80, 0x3b80, 0x3f80 | 0x8000), 0xbf7f); /* 2^-8 - 1 */
    assert_int_equal(emulator_fma_bf16(0x1000, 0x1000, 0x3f80), 0x3f80);          /* a product far below */
    assert_int_equal(emulator_fma_bf16(0x7f7f, 0x4000, 0x3f80), 0x7f80);          /* too large: infinity */
    assert_int_equal(emulator_fma_bf16(0x7f80, 0x0000, 0x3f80) & 0x7fff, 0x7fff); /* infinity * 0 */
}

/* ---- what ends the process -------------------------------------------------------------------------------------- */

/* Runs the kernel in a child, which must abort and say `sentence`. */
static void assert_caught(test_kernel kernel, const char *sentence)
{
    char text[1024] = "";
    int ends[2], status;
    struct emulator_test *t = clean();
    t->steps = 7;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        launch(kernel, 2);
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t got; used < sizeof(text) - 1 && (got = read(ends[0], text + used, sizeof(text) - 1 - used)) > 0;)
        used += (size_t)got;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    if (strstr(text, sentence) == NULL || strstr(text, "LENSD_EMULATOR_SEED=") == NULL)
        fail_msg("'%s' expected, found: %s", sentence, text);
}

static void what_hangs_or_faults_a_card_ends_the_process(void **state)
{
    (void)state;
    assert_caught(et_half_a_barrier,
                  "wait for each other for good: 7 at '__syncthreads' (first: thread 0), 249 at 'has");
    assert_caught(et_half_a_warp, "56 at 'a shuffle' (first: thread 0), 200 at 'has returned' (first: thread 7)");
    assert_caught(et_two_collectives, "while other lanes of the warp wait in");
    assert_caught(et_unaligned, "a card wants it on 16 bytes");
}

/* ---- graphs ----------------------------------------------------------------------------------------------------- */

static cudaGraphNode_t add_kernel(cudaGraph_t graph, const cudaGraphNode_t *after, test_kernel kernel)
{
    void *arguments[] = {&on_device};
    cudaGraphNode_t node;
    struct cudaKernelNodeParams params = {
        .func = (void *)kernel, .gridDim = flat(1), .blockDim = flat(threads), .kernelParams = arguments};
    assert_int_equal(cudaGraphAddKernelNode(&node, graph, after, after != NULL, &params), cudaSuccess);
    return node;
}

/* note -> while { count down } -> note. */
static cudaGraphExec_t make_loop(struct emulator_test *t)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaGraphNode_t first, loop;
    cudaGraphConditionalHandle handle;
    assert_int_equal(cudaGraphCreate(&graph, 0), cudaSuccess);
    assert_int_equal(cudaGraphConditionalHandleCreate(&handle, graph, 1, cudaGraphCondAssignDefault), cudaSuccess);
    first = add_kernel(graph, NULL, et_note);
    struct cudaGraphNodeParams params;
    memset(&params, 0, sizeof(params));
    params.type = cudaGraphNodeTypeConditional;
    params.conditional.handle = handle;
    params.conditional.type = cudaGraphCondTypeWhile;
    params.conditional.size = 1;
    assert_int_equal(cudaGraphAddNode(&loop, graph, &first, NULL, 1, &params), cudaSuccess);
    add_kernel(params.conditional.phGraph_out[0], NULL, et_count_down);
    add_kernel(graph, &loop, et_note);
    assert_int_equal(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    assert_int_equal(cudaGraphDestroy(graph), cudaSuccess);
    t->condition = handle;
    return exec;
}

static void graph_runs_its_loop_until_the_condition_falls(void **state)
{
    (void)state;
    struct emulator_test *t = clean();
    cudaGraphExec_t exec = make_loop(t);
    for (uint32_t steps = 1; steps < 6; steps++) {
        t->steps = steps;
        t->arrived = t->out[0] = 0;
        assert_int_equal(cudaGraphUpload(exec, NULL), cudaSuccess);
        assert_int_equal(cudaGraphLaunch(exec, NULL), cudaSuccess);
        const uint32_t expected[3] = {steps, 0, steps};
        assert_memory_equal(t->out, expected, sizeof(expected));
    }
    assert_int_equal(cudaGraphExecDestroy(exec), cudaSuccess);
}

static void nodes_without_dependencies_change_places(void **state)
{
    (void)state;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    unsigned note_first = 0, rounds = 64;
    struct emulator_test *t = clean();
    assert_int_equal(cudaGraphCreate(&graph, 0), cudaSuccess);
    assert_int_equal(cudaGraphConditionalHandleCreate((cudaGraphConditionalHandle *)&t->condition, graph, 0, 0),
                     cudaSuccess);
    add_kernel(graph, NULL, et_count_down);
    add_kernel(graph, NULL, et_note);
    assert_int_equal(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    for (unsigned i = 0; i < rounds; i++) {
        t->arrived = t->out[0] = 0;
        assert_int_equal(cudaGraphLaunch(exec, NULL), cudaSuccess);
        note_first += t->out[1] == 0;
    }
    assert_true(note_first > 0 && note_first < rounds);
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static void copies_say_where_memory_lies(void **state)
{
    (void)state;
    uint32_t host[4] = {1, 2, 3, 4};
    void *device = on_device->out;
    assert_int_equal(cudaMemcpy(device, host, sizeof(host), cudaMemcpyHostToDevice), cudaSuccess);
    assert_int_equal(cudaMemcpy(host, device, sizeof(host), cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(device, host, sizeof(host), cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(device, host, sizeof(host), cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
    assert_int_equal(cudaMemset(host, 0, sizeof(host)), cudaErrorInvalidValue);
    assert_int_equal(cudaMemset((char *)on_device + sizeof(*on_device) - 4, 0, 8), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    assert_int_equal(host[3], 4);
}

static void memory_is_poisoned_counted_and_limited(void **state)
{
    (void)state;
    setenv("LENSD_EMULATOR_MEMORY", "1000000", 1);
    emulator_reset();
    size_t before, after, total;
    unsigned char *memory, *locked;
    void *more;
    assert_int_equal(cudaMemGetInfo(&before, &total), cudaSuccess);
    assert_int_equal(total, 1000000);
    assert_int_equal(cudaMalloc((void **)&memory, 300000), cudaSuccess);
    assert_int_equal(cudaMemGetInfo(&after, &total), cudaSuccess);
    assert_int_equal(before - after, 300000);
    assert_int_equal(cudaMalloc(&more, after + 1), cudaErrorMemoryAllocation);
    assert_int_equal(cudaHostAlloc((void **)&locked, 100, cudaHostAllocMapped), cudaSuccess);
    for (size_t i = 0; i < 100; i++)
        assert_true(memory[i] == EMULATOR_POISON && memory[299999 - i] == EMULATOR_POISON &&
                    locked[i] == EMULATOR_POISON);
    assert_int_equal(cudaFree(locked), cudaErrorInvalidValue);
    assert_int_equal(cudaFreeHost(locked), cudaSuccess);
    assert_int_equal(cudaFree(memory), cudaSuccess);
    assert_int_equal(emulator_bytes_allocated(), sizeof(*on_device));
}

static void registered_memory_is_seen_once_and_whole(void **state)
{
    (void)state;
    char *memory = malloc(10000);
    void *seen;
    assert_int_equal(cudaHostGetDevicePointer(&seen, memory, 0), cudaErrorInvalidValue);
    assert_int_equal(cudaHostRegister(memory, 10000, cudaHostRegisterMapped), cudaSuccess);
    assert_int_equal(cudaHostRegister(memory + 5000, 10, 0), cudaErrorHostMemoryAlreadyRegistered);
    assert_int_equal(cudaHostGetDevicePointer(&seen, memory + 9999, 0), cudaSuccess);
    assert_int_equal(cudaHostUnregister(memory), cudaSuccess);
    assert_int_equal(cudaHostUnregister(memory), cudaErrorHostMemoryNotRegistered);
    assert_int_equal(cudaHostRegister((void *)4096, 10, 0), cudaErrorInvalidValue);
    free(memory);
}

/* ---- faults and other cards ------------------------------------------------------------------------------------- */

static void faults_come_at_their_call(void **state)
{
    (void)state;
    void *memory;
    setenv("LENSD_EMULATOR_FAULTS", "cudaMalloc 2 2; cudaLaunchKernel 1 700", 1);
    emulator_reset();
    assert_int_equal(cudaMalloc(&memory, 10), cudaSuccess);
    cudaFree(memory);
    assert_int_equal(cudaMalloc(&memory, 10), cudaErrorMemoryAllocation);
    assert_int_equal(cudaMalloc(&memory, 10), cudaSuccess);
    assert_int_equal(emulator_calls("cudaMalloc"), 3);
    clean();
    assert_int_equal(launch(et_note, 1), cudaErrorIllegalAddress);
    assert_int_equal(on_device->arrived, 0);
    assert_int_equal(cudaStreamSynchronize(NULL), cudaErrorIllegalAddress);
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
    assert_int_equal(cudaFree(memory), cudaErrorIllegalAddress);
}

static void other_machines_have_other_cards(void **state)
{
    (void)state;
    int count = 7, version;
    setenv("LENSD_EMULATOR_DEVICES", "0", 1);
    emulator_reset();
    assert_int_equal(cudaGetDeviceCount(&count), cudaErrorNoDevice);
    assert_int_equal(count, 0);
    setenv("LENSD_EMULATOR_DEVICES", "-1", 1);
    emulator_reset();
    assert_int_equal(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
    assert_int_equal(cudaDriverGetVersion(&version), cudaSuccess);
    assert_int_equal(version, 12000);
    setenv("LENSD_EMULATOR_DEVICES", "-2", 1);
    emulator_reset();
    assert_int_equal(cudaDriverGetVersion(&version), cudaSuccess);
    assert_int_equal(version, 0);
    setenv("LENSD_EMULATOR_DEVICES", "1", 1);
    setenv("LENSD_EMULATOR_CAPABILITY", "7.5", 1);
    emulator_reset();
    struct cudaDeviceProp properties;
    assert_int_equal(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    assert_true(properties.major == 7 && properties.minor == 5);
    assert_int_equal(cudaSetDevice(1), cudaErrorInvalidDevice);
    assert_int_equal(launch(et_note, 1), cudaErrorNoKernelImageForDevice);
}

static void work_for_one_card_is_not_done_by_another(void **state)
{
    (void)state;
    cudaStream_t stream;
    void *arguments[] = {&on_device};
    setenv("LENSD_EMULATOR_DEVICES", "2", 1);
    emulator_reset();
    clean();
    assert_int_equal(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), cudaSuccess);
    assert_int_equal(cudaSetDevice(1), cudaSuccess);
    assert_int_equal(cudaLaunchKernel((const void *)et_note, flat(1), flat(threads), arguments, 0, stream),
                     cudaErrorInvalidResourceHandle);
    assert_int_equal(cudaSetDevice(0), cudaSuccess);
    assert_int_equal(cudaLaunchKernel((const void *)et_note, flat(1), flat(threads), arguments, 0, stream),
                     cudaSuccess);
    assert_int_equal(cudaStreamDestroy(stream), cudaSuccess);
}

static void launches_that_a_card_refuses_are_refused(void **state)
{
    (void)state;
    void *arguments[] = {&on_device};
    const void *kernel = (const void *)et_note;
    assert_int_equal(cudaLaunchKernel(kernel, flat(0), flat(32), arguments, 0, NULL), cudaErrorInvalidConfiguration);
    assert_int_equal(cudaLaunchKernel(kernel, flat(1), flat(2048), arguments, 0, NULL), cudaErrorInvalidConfiguration);
    assert_int_equal(cudaLaunchKernel(arguments, flat(1), flat(32), arguments, 0, NULL),
                     cudaErrorInvalidDeviceFunction);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(barriers_hold_all_threads_of_a_block),
        TEST(missing_barrier_gives_other_results),
        TEST(votes_and_shuffles_are_as_cuda_defines_them),
        TEST(last_block_sees_what_all_blocks_wrote),
        TEST(atomics_lose_nothing),
        TEST(shared_memory_holds_poison_at_the_start_of_each_block),
        TEST(products_are_those_of_plain_loops),
        TEST(small_floats_convert_exactly),
        TEST(what_hangs_or_faults_a_card_ends_the_process),
        TEST(graph_runs_its_loop_until_the_condition_falls),
        TEST(nodes_without_dependencies_change_places),
        TEST(copies_say_where_memory_lies),
        TEST(memory_is_poisoned_counted_and_limited),
        TEST(registered_memory_is_seen_once_and_whole),
        TEST(faults_come_at_their_call),
        TEST(other_machines_have_other_cards),
        TEST(work_for_one_card_is_not_done_by_another),
        TEST(launches_that_a_card_refuses_are_refused),
    };
    printf("LENSD_EMULATOR_SEED=%llu\n", (unsigned long long)emulator_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
