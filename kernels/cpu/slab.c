/* Slabs of the CPU backend: how big things are, and their memory. Everything a run or a slot write needs is allocated
 * here, once. */
#include "kernels/cascade.h"
#include "kernels/cpu/cpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

uint64_t cpu_memory_available(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    if (file == NULL)
        return 0;
    char line[128];
    unsigned long long kilobytes = 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %llu", &kilobytes) == 1)
            break;
    fclose(file);
    return kilobytes * 1024;
}

/* Pages must be there before the first score: a first touch costs far more than a read. -ENOMEM when they can't be. */
static int prefault(uint8_t *memory, size_t bytes)
{
#ifdef MADV_POPULATE_WRITE
    if (madvise(memory, bytes, MADV_POPULATE_WRITE) == 0)
        return 0;
    if (errno != EINVAL) /* kernels before 5.14 don't know it */
        return -ENOMEM;
#endif
    volatile uint8_t *touch = memory;
    for (size_t i = 0; i < bytes; i += 4096)
        touch[i] = 0;
    return 0;
}

static int map_slots(struct cpu_slab *slab, struct lens_error *err)
{
    size_t bytes = round_up(slab->layout.stride * slab->base.config.slots, HUGE_PAGE);
    uint64_t available = cpu_memory_available();
    if (available != 0 && bytes > available)
        return lens_error_set(err, -ENOMEM, "%u slots need %zu MiB, and this machine has %llu MiB available",
                              slab->base.config.slots, bytes >> 20, (unsigned long long)available >> 20);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    /* one page more than needed, so that a huge page boundary lies inside */
    /* cppcheck-suppress invalidFunctionArg ; anonymous memory has no descriptor */
    uint8_t *mapping = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (mapping == MAP_FAILED)
        return lens_error_set(err, -ENOMEM, "could not map %zu MiB for %u slots", bytes >> 20, slab->base.config.slots);
    slab->mapping = mapping;
    slab->mapping_bytes = bytes + HUGE_PAGE;
    slab->slots = mapping + (HUGE_PAGE - (uintptr_t)mapping % HUGE_PAGE) % HUGE_PAGE;
    madvise(slab->slots, bytes, MADV_HUGEPAGE);
    if (prefault(slab->slots, bytes) != 0)
        return lens_error_set(err, -ENOMEM, "this machine has no %zu MiB for %u slots", bytes >> 20,
                              slab->base.config.slots);
    return 0;
}

static int choose_kernels(struct cpu_slab *slab, const struct cpu_variant *variant, struct lens_error *err)
{
    const struct lens_slab_config *config = &slab->base.config;
    slab->variant = variant;
    slab->first = variant->kernel(config->dtype, config->compute);
    slab->second = cpu_exact_kernel(variant, slab->base.model.w2_dtype);
    if (slab->first == NULL)
        return lens_error_set(err, -ENOTSUP,
                              "compute %s doesn't work on %s slots: exact takes f32, bf16, int8 or log8 slots, bf16 "
                              "takes bf16 slots, int8 takes int8 slots",
                              lens_compute_name(config->compute), lens_dtype_name(config->dtype));
    return 0;
}

static void lay_out(struct cpu_slab *slab)
{
    const struct lens_model *model = &slab->base.model;
    slab->w1 = cpu_matrix_of(slab->first, model->h1, model->dim);
    slab->w2 = cpu_matrix_of(slab->second, model->h2, model->h1);
    bool int8 = slab->first->dtype == LENS_I8, log8 = slab->first->dtype == LENS_LOG8;
    size_t table = round_up((size_t)slab->w1.padded * 4, 64);
    size_t sign_units = log8 ? cpu_sign_units(slab->w1.units) : 0;
    slab->layout.signs = round_up(slab->w1.bytes, 64);
    slab->layout.steps = slab->layout.signs + round_up(slab->w1.padded * sign_units * 4, 64);
    slab->layout.scale = slab->layout.steps + (log8 ? table : 0);
    slab->layout.bias = slab->layout.scale + (int8 || log8 ? table : 0);
    slab->layout.w2 = slab->layout.bias + (int8 ? table : 0);
    slab->layout.stride = round_up(slab->layout.w2 + slab->w2.bytes, 64);

    slab->x_stride = round_up((size_t)slab->w1.units * cpu_depth(slab->first) * cpu_x_bytes(slab->first->x_form), 64);
    slab->hidden_stride = (uint32_t)round_up(model->h1, 16);
    uint32_t units = slab->w1.units > slab->w2.units ? slab->w1.units : slab->w2.units;
    slab->row_stride = round_up((units + sign_units) * 4, 64) + 64; /* + 64: rows shouldn't share cache sets */
}

/* Zeroed, 64-byte aligned; NULL on overflow or no memory. */
static void *zeroed(size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / 2 / size)
        return NULL;
    size_t bytes = round_up(n * size + 1, 64);
    void *memory = aligned_alloc(64, bytes);
    if (memory != NULL)
        memset(memory, 0, bytes);
    return memory;
}

/* The next `bytes` of a thread's memory; NULL while it is only being measured. */
static void *take(uint8_t *memory, size_t *used, size_t bytes)
{
    size_t at = *used;
    *used += round_up(bytes, 64);
    return memory != NULL ? memory + at : NULL;
}

/* Lays one thread's scratch out in `memory`; returns its size. */
static size_t lay_scratch(const struct cpu_slab *slab, uint8_t *memory, struct cpu_scratch *out)
{
    size_t padded = slab->w1.padded > slab->w2.padded ? slab->w1.padded : slab->w2.padded, used = 0;
    out->acc = take(memory, &used, CPU_ROW_CHUNK * padded * 4);
    out->hidden = take(memory, &used, (size_t)CPU_ROW_CHUNK * slab->hidden_stride * sizeof(float));
    out->widen = take(memory, &used, (size_t)CPU_WIDEN_FLOATS * sizeof(float));
    return used;
}

/* Likewise one loader's. */
static size_t lay_write_scratch(const struct cpu_slab *slab, uint8_t *memory, struct cpu_write_scratch *out)
{
    const struct lens_model *model = &slab->base.model;
    size_t longest = model->dim > model->h1 ? model->dim : model->h1, used = 0;
    uint32_t panel = slab->first->panel > slab->second->panel ? slab->first->panel : slab->second->panel;
    out->row = take(memory, &used, longest * sizeof(float));
    out->rows = take(memory, &used, panel * slab->row_stride);
    out->zeros = take(memory, &used, slab->row_stride);
    return used;
}

static int allocate_scratch(struct cpu_slab *slab)
{
    struct cpu_scratch measure;
    size_t each = lay_scratch(slab, NULL, &measure);
    slab->scratch = calloc(slab->threads, sizeof *slab->scratch);
    slab->scratch_memory = zeroed(slab->threads, each);
    if (slab->scratch == NULL || slab->scratch_memory == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < slab->threads; i++)
        lay_scratch(slab, (uint8_t *)slab->scratch_memory + each * i, &slab->scratch[i]);
    return 0;
}

static int allocate_write_scratch(struct cpu_slab *slab)
{
    struct cpu_write_scratch measure;
    size_t each = lay_write_scratch(slab, NULL, &measure);
    slab->write_scratch = calloc(slab->base.config.loaders, sizeof *slab->write_scratch);
    slab->write_memory = zeroed(slab->base.config.loaders, each);
    if (slab->write_scratch == NULL || slab->write_memory == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < slab->base.config.loaders; i++)
        lay_write_scratch(slab, (uint8_t *)slab->write_memory + each * i, &slab->write_scratch[i]);
    return 0;
}

static int allocate_tables(struct cpu_slab *slab, struct lens_error *err)
{
    uint32_t rows = slab->base.config.max_batch_rows, dim = slab->base.model.dim;
    slab->x = zeroed(rows, slab->x_stride);
    slab->x_scale = zeroed(rows, sizeof(float));
    slab->staged = zeroed(dim, sizeof(float));
    slab->raw = zeroed(dim, sizeof(float));
    if (slab->x == NULL || slab->x_scale == NULL || slab->staged == NULL || slab->raw == NULL ||
        allocate_scratch(slab) != 0 || allocate_write_scratch(slab) != 0)
        return lens_error_set(err, -ENOMEM, "no memory for the tables of a slab of %u slots and %u rows",
                              slab->base.config.slots, rows);
    return lens_slab_make_maps(&slab->base, err);
}

void cpu_slab_destroy(struct lens_slab *base)
{
    if (base == NULL)
        return;
    struct cpu_slab *slab = (struct cpu_slab *)base;
    lens_cascade_destroy(base);
    if (slab->mapping != NULL)
        munmap(slab->mapping, slab->mapping_bytes);
    free(slab->x);
    free(slab->x_scale);
    free(slab->staged);
    free(slab->raw);
    free(slab->scratch);
    free(slab->scratch_memory);
    free(slab->write_scratch);
    free(slab->write_memory);
    lens_slab_free_maps(base);
    free(slab);
}

static uint64_t table_bytes(const struct cpu_slab *slab)
{
    struct cpu_scratch scratch;
    struct cpu_write_scratch write_scratch;
    return (uint64_t)slab->base.config.max_batch_rows * slab->x_stride + 2 * slab->base.model.dim * sizeof(float) +
           (uint64_t)slab->threads * lay_scratch(slab, NULL, &scratch) +
           (uint64_t)slab->base.config.loaders * lay_write_scratch(slab, NULL, &write_scratch);
}

int cpu_slab_size(struct lens_backend *backend, const struct lens_model *model, const struct lens_slab_config *config,
                  struct lens_slab_size *out, struct lens_error *err)
{
    const struct cpu_backend *cpu = (struct cpu_backend *)backend;
    struct cpu_slab slab = {.base = {.backend = backend, .model = *model, .config = *config}, .threads = cpu->threads};
    slab.base.config.slots = 1;
    int rc = lens_slab_check(model, &slab.base.config, err);
    if (rc == 0)
        rc = choose_kernels(&slab, cpu->variant, err);
    if (rc != 0)
        return rc;
    lay_out(&slab);
    *out = (struct lens_slab_size){.fixed_bytes = table_bytes(&slab), .slot_bytes = slab.layout.stride};
    return 0;
}

int cpu_slab_create(struct lens_backend *backend, const struct lens_model *model, const struct lens_slab_config *config,
                    struct lens_slab **out, struct lens_error *err)
{
    *out = NULL;
    struct cpu_backend *cpu = (struct cpu_backend *)backend;
    int rc = lens_slab_check(model, config, err);
    if (rc != 0)
        return rc;
    struct cpu_slab *slab = calloc(1, sizeof *slab);
    if (slab == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a slab");
    slab->base.backend = backend;
    slab->base.model = *model;
    slab->base.config = *config;
    slab->threads = cpu->threads;
    rc = choose_kernels(slab, cpu->variant, err);
    if (rc != 0)
        goto fail;
    lay_out(slab);
    rc = allocate_tables(slab, err);
    if (rc != 0)
        goto fail;
    rc = map_slots(slab, err);
    if (rc != 0)
        goto fail;
    rc = lens_cascade_create(&slab->base, err);
    if (rc != 0)
        goto fail;
    *out = &slab->base;
    return 0;
fail:
    cpu_slab_destroy(&slab->base);
    return rc;
}
