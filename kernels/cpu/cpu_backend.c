/* The CPU backend's door: choosing a variant, starting the team, and the table of operations. */
#include "kernels/cascade.h"
#include "kernels/cpu/cpu.h"

#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 1024u

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static bool has_everything(void)
{
    return true;
}

/* Fastest first: "auto" takes the first one that runs. */
static const struct {
    const struct cpu_variant *variant;
    bool (*runs)(void);
} variants[] = {
    {&cpu_variant_avx512, has_avx512},
    {&cpu_variant_avx2, has_avx2},
    {&cpu_variant_scalar, has_everything},
};

static int choose_variant(const char *name, const struct cpu_variant **out, struct lens_error *err)
{
    bool any = name == NULL || strcmp(name, "auto") == 0;
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        if (!any && strcmp(name, variants[i].variant->name) != 0)
            continue;
        if (variants[i].runs()) {
            *out = variants[i].variant;
            return 0;
        }
        if (!any)
            return lens_error_set(err, -ENOTSUP, "this processor can't run the cpu variant \"%s\"; use \"auto\"", name);
    }
    return lens_error_set(err, -EINVAL, "no cpu variant \"%s\": expected auto, scalar, avx2 or avx512", name);
}

/* The processor's brand string, from cpuid leaves 0x80000002..4. */
static void processor_name(char *out, size_t size)
{
    unsigned text[13] = {0};
    for (unsigned i = 0; i < 3; i++) {
        unsigned *r = &text[(size_t)i * 4];
        if (!__get_cpuid(0x80000002u + i, &r[0], &r[1], &r[2], &r[3])) {
            snprintf(out, size, "unknown processor");
            return;
        }
    }
    const char *name = (const char *)text;
    snprintf(out, size, "%s", name + strspn(name, " "));
}

static void describe(struct lens_backend *backend, struct lens_device *out)
{
    struct cpu_backend *cpu = (struct cpu_backend *)backend;
    memset(out, 0, sizeof *out);
    snprintf(out->backend, sizeof out->backend, "cpu");
    processor_name(out->name, sizeof out->name);
    snprintf(out->variant, sizeof out->variant, "%s", cpu->variant->name);
    out->threads = cpu->threads;
    out->memory_bytes = cpu_memory_available();
    out->slab_dtypes = 1u << LENS_F32 | 1u << LENS_BF16 | 1u << LENS_I8 | 1u << LENS_LOG8;
}

static void close_backend(struct lens_backend *backend)
{
    struct cpu_backend *cpu = (struct cpu_backend *)backend;
    cpu_team_close(cpu->team);
    free(cpu);
}

static const struct lens_backend_ops cpu_ops = {
    .api_version = LENS_BACKEND_API,
    .describe = describe,
    .slab_create = cpu_slab_create,
    .slab_destroy = cpu_slab_destroy,
    .slot_write = cpu_slot_write,
    .run = lens_cascade_run,
    .slot_bytes = cpu_slot_bytes,
    .close = close_backend,
    .slab_size = cpu_slab_size,
    .stage = cpu_stage,
    .score = cpu_score,
};

int lens_cpu_open(const struct lens_cpu_options *options, struct lens_backend **out, struct lens_error *err)
{
    *out = NULL;
    const struct cpu_variant *variant = NULL;
    int rc = choose_variant(options->variant, &variant, err);
    if (rc != 0)
        return rc;
    if (options->threads == 0 || options->threads > MAX_THREADS)
        return lens_error_set(err, -EINVAL, "a cpu backend of %u threads: expected 1 to %u", options->threads,
                              MAX_THREADS);
    struct cpu_backend *cpu = calloc(1, sizeof *cpu);
    if (cpu == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the cpu backend");
    cpu->base.ops = &cpu_ops;
    cpu->variant = variant;
    cpu->threads = options->threads;
    rc = cpu_team_open(options->threads, &cpu->team, err);
    if (rc != 0) {
        free(cpu);
        return rc;
    }
    *out = &cpu->base;
    return 0;
}
