/* Blocks of a kernel as fibers: see emulator.h. x86-64, System V. */
#include "emulator.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif
#ifdef ASAN
#include <sanitizer/common_interface_defs.h>
#define STACK_BYTES (256u << 10)
#else
#define STACK_BYTES (64u << 10)
#endif

#define MAX_THREADS 1024u
#define MAX_WARPS   32u
#define GUARD_BYTES 4096u

struct fiber {
    void *sp;
    char *stack; /* lowest byte */
    size_t stack_bytes;
    void *fake_stack; /* the sanitizer's, while switched away */
    enum emulator_wait wait;
    unsigned index;
};

struct warp {
    uint32_t ready; /* lanes that may run */
    unsigned arrived;
    unsigned parity; /* which of the two sets of values is being filled */
    enum emulator_wait kind;
    uint64_t values[2][32];
    struct emulator_fragments fragments[2][32];
};

struct uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

static struct {
    struct fiber fibers[MAX_THREADS], host;
    struct fiber *running;
    struct warp warps[MAX_WARPS];
    unsigned threads, made, returned;
    uint32_t ready_warps;
    bool sticky; /* this block's warps run far ahead of each other */
    unsigned arrived, predicates, barrier_result;
    enum emulator_wait barrier_kind;
    const struct emulator_kernel *kernel;
    const void *argument;
} card;

static const char *const wait_names[] = {"runs",       "__syncthreads", "__syncthreads_or", "__syncthreads_count",
                                         "__syncwarp", "a shuffle",     "__ballot_sync",    "cu_mma_bf16",
                                         "cu_mma_s8",  "has returned"};

/* ---- random numbers --------------------------------------------------------------------------------------------- */

static uint64_t random_state = 1;

void emulator_random_seed(uint64_t seed)
{
    random_state = seed;
}

uint64_t emulator_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* One of the bits set in `bits`, which isn't 0. */
static unsigned random_bit(uint32_t bits)
{
    unsigned turn = emulator_random() & 31;
    uint32_t turned = bits >> turn | bits << (-turn & 31);
    return ((unsigned)__builtin_ctz(turned) + turn) & 31;
}

/* ---- the end of the process ------------------------------------------------------------------------------------- */

void emulator_abort(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "emulated card: kernel %s, block %u, thread %u: ", card.kernel ? card.kernel->name : "(none)",
            blockIdx.x, threadIdx.x);
    vfprintf(stderr, format, args);
    fprintf(stderr, " (LENSD_EMULATOR_SEED=%llu)\n", (unsigned long long)emulator_seed());
    va_end(args);
    fflush(stderr);
    abort();
}

static void say_deadlock(void)
{
    unsigned counts[EMULATOR_RETURNED + 1] = {0}, first[EMULATOR_RETURNED + 1] = {0};
    char text[512];
    size_t used = 0;
    for (unsigned i = card.threads; i-- > 0;) {
        counts[card.fibers[i].wait]++;
        first[card.fibers[i].wait] = i;
    }
    for (unsigned w = 0; w <= EMULATOR_RETURNED; w++)
        if (counts[w] != 0 && used < sizeof(text))
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%u at '%s' (first: thread %u)",
                                     used != 0 ? ", " : "", counts[w], wait_names[w], first[w]);
    emulator_abort("the threads of a block wait for each other for good: %s", text);
}

/* ---- switching -------------------------------------------------------------------------------------------------- */

/* Saves what a callee must keep, and the stack pointer in *from; goes on where `to` was saved. */
void emulator_switch(void **from, void *to);
__asm__(".text\n"
        ".globl emulator_switch\n"
        ".hidden emulator_switch\n"
        ".type emulator_switch, @function\n"
        "emulator_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size emulator_switch, .-emulator_switch\n");

/* To be called first on every stack that was switched to. */
static void arrived_from(struct fiber *from)
{
#ifdef ASAN
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(card.running->fake_stack, &bottom, &bytes);
    if (from == &card.host) {
        card.host.stack = (char *)bottom;
        card.host.stack_bytes = bytes;
    }
#else
    (void)from;
#endif
}

static struct fiber *came_from;

static void switch_to(struct fiber *to)
{
    struct fiber *from = card.running;
    if (to == from)
        return;
    card.running = to;
    came_from = from;
    threadIdx.x = to->index;
#ifdef ASAN
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_bytes);
#endif
    emulator_switch(&from->sp, to->sp);
    arrived_from(came_from);
}

static void set_ready(unsigned index)
{
    card.fibers[index].wait = EMULATOR_RUNS;
    card.warps[index / 32].ready |= 1u << index % 32;
    card.ready_warps |= 1u << index / 32;
}

/* The next thread to run, taken from the ready ones: in a sticky block mostly one of the same warp. NULL: none. */
static struct fiber *take_ready(void)
{
    if (card.ready_warps == 0)
        return NULL;
    unsigned w = card.running->index / 32;
    if (!card.sticky || card.warps[w].ready == 0 || (emulator_random() & 127) == 0)
        w = random_bit(card.ready_warps);
    unsigned lane = random_bit(card.warps[w].ready);
    card.warps[w].ready &= ~(1u << lane);
    if (card.warps[w].ready == 0)
        card.ready_warps &= ~(1u << w);
    return &card.fibers[32 * w + lane];
}

/* The running thread has to wait (or is at its end): another one runs. */
static void switch_away(void)
{
    struct fiber *next = take_ready();
    if (next == NULL && card.returned < card.threads)
        say_deadlock();
    switch_to(next == NULL ? &card.host : next);
}

void emulator_perhaps_switch(void)
{
    if ((emulator_random() & 7) != 0)
        return;
    set_ready(card.running->index);
    switch_away();
}

/* ---- barriers and collectives ----------------------------------------------------------------------------------- */

unsigned emulator_barrier(enum emulator_wait kind, int predicate)
{
    if (card.arrived != 0 && card.barrier_kind != kind)
        emulator_abort("%s, while other threads of the block wait in %s", wait_names[kind],
                       wait_names[card.barrier_kind]);
    card.barrier_kind = kind;
    card.predicates += predicate != 0;
    card.running->wait = kind;
    if (++card.arrived < card.threads) {
        switch_away();
    } else {
        card.barrier_result = card.predicates;
        card.arrived = card.predicates = 0;
        for (unsigned i = 0; i < card.threads; i++)
            set_ready(i);
        switch_away();
    }
    return card.barrier_result;
}

unsigned emulator_lane(void)
{
    return card.running->index % 32;
}

/* True for the lane that comes last: it does the warp's work and calls warp_release. Others wait for that. */
static bool warp_arrive(struct warp *warp, enum emulator_wait kind)
{
    if (warp->arrived != 0 && warp->kind != kind)
        emulator_abort("%s, while other lanes of the warp wait in %s", wait_names[kind], wait_names[warp->kind]);
    warp->kind = kind;
    card.running->wait = kind;
    if (++warp->arrived == 32)
        return true;
    switch_away();
    return false;
}

static void warp_release(struct warp *warp)
{
    unsigned first = card.running->index / 32 * 32;
    warp->arrived = 0;
    warp->parity ^= 1;
    for (unsigned lane = 0; lane < 32; lane++)
        set_ready(first + lane);
    switch_away();
}

const uint64_t *emulator_exchange(enum emulator_wait kind, unsigned mask, uint64_t value)
{
    struct warp *warp = &card.warps[card.running->index / 32];
    unsigned parity = warp->parity;
    if (mask != 0xffffffffu)
        emulator_abort("%s with mask %#x: only whole warps are emulated", wait_names[kind], mask);
    warp->values[parity][emulator_lane()] = value;
    if (warp_arrive(warp, kind))
        warp_release(warp);
    return warp->values[parity];
}

void emulator_mma(enum emulator_wait kind, uint32_t acc[4], const uint32_t a[4], const uint32_t b[2])
{
    struct warp *warp = &card.warps[card.running->index / 32];
    struct emulator_fragments *all = warp->fragments[warp->parity], *mine = &all[emulator_lane()];
    memcpy(mine->acc, acc, sizeof(mine->acc));
    memcpy(mine->a, a, sizeof(mine->a));
    memcpy(mine->b, b, sizeof(mine->b));
    if (warp_arrive(warp, kind)) {
        if (kind == EMULATOR_MMA_BF16)
            emulator_mma_bf16(all);
        else
            emulator_mma_s8(all);
        warp_release(warp);
    }
    memcpy(acc, mine->acc, sizeof(mine->acc));
}

/* ---- blocks ----------------------------------------------------------------------------------------------------- */

/* A thread's whole life: one run of the kernel for each block. */
static void fiber_main(void)
{
    arrived_from(came_from);
    for (;;) {
        card.kernel->invoke(card.argument);
        card.running->wait = EMULATOR_RETURNED;
        card.returned++;
        switch_away();
    }
}

static void make_fiber(unsigned index)
{
    struct fiber *fiber = &card.fibers[index];
    /* Tops lie at different places of a page, or they all would meet in the same lines of the cache. */
    size_t offset = index % 32 * 128, bytes = STACK_BYTES + GUARD_BYTES;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, GUARD_BYTES, PROT_NONE) != 0) {
        perror("emulated card: no memory for a thread's stack");
        abort();
    }
    fiber->index = index;
    fiber->stack = memory + GUARD_BYTES;
    fiber->stack_bytes = STACK_BYTES;
    void **top = (void **)(fiber->stack + STACK_BYTES - offset);
    *--top = NULL; /* where fiber_main would return to; also puts the stack where a call leaves it */
    *--top = (void *)fiber_main;
    top -= 6; /* registers */
    memset((void *)top, 0, 6 * sizeof(void *));
    fiber->sp = (void *)top;
}

extern char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));

static void poison_shared(void)
{
    for (volatile char *p = __start_emulated_shared; p < __stop_emulated_shared; p++)
        *p = (char)EMULATOR_POISON;
}

static void run_block(unsigned block)
{
    blockIdx.x = block;
    poison_shared();
    card.returned = card.arrived = card.predicates = 0;
    card.sticky = emulator_random() & 1;
    for (unsigned w = 0; w < card.threads / 32; w++)
        card.warps[w].arrived = 0;
    for (unsigned i = 0; i < card.threads; i++)
        set_ready(i);
    card.running = &card.host;
    switch_away();
}

static uint64_t common_factor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Blocks in a random order: a walk through all of them by a step that shares no factor with their number. */
void emulator_launch(const struct emulator_kernel *kernel, dim3 grid, dim3 block, const void *argument)
{
    card.kernel = kernel;
    card.argument = argument;
    card.threads = block.x;
    for (; card.made < card.threads; card.made++)
        make_fiber(card.made);
    blockDim = block;
    gridDim = grid;
    uint64_t n = grid.x, at = emulator_random() % n, step = 1 + emulator_random() % n;
    while (common_factor(step, n) != 1)
        step++;
    for (uint64_t i = 0; i < n; i++, at = (at + step) % n)
        run_block((unsigned)at);
    card.kernel = NULL;
}
