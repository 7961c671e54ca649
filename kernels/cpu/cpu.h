/* Inside the CPU backend: the backend, its slabs, and what its files offer each other.
 *
 * A slot of a slab holds one lens ready to run, everything a score reads in one ascending stream:
 *     W1 packed | log8: signs packed | log8: steps f32[padded] | int8, log8: scale f32[padded] | int8: bias i32[padded]
 * | W2 packed W2 is converted into the slot (rather than kept packed for all lenses) so that its memory is bounded by
 * the slots and a lens is one stream; b1, b2, w3, b3 are used where the pack has them. */
#ifndef LENS_CPU_CPU_H
#define LENS_CPU_CPU_H

#include "kernels/backend.h"
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/team.h"

struct cpu_backend {
    struct lens_backend base;
    const struct cpu_variant *variant;
    struct cpu_team *team;
    uint32_t threads;
};

/* Where things lie inside a slot, in bytes. */
struct cpu_slot_layout {
    size_t signs, steps, scale, bias, w2, stride;
};

/* One thread's own memory while it scores. */
struct cpu_scratch {
    void *acc;     /* [CPU_ROW_CHUNK][max padded] f32 or i32 */
    float *hidden; /* [CPU_ROW_CHUNK][hidden_stride], zero beyond h1 */
    float *widen;  /* CPU_WIDEN_FLOATS */
};

/* One loader's own memory while it writes slots. */
struct cpu_write_scratch {
    float *row;     /* [dim] one row of W1 as f32 */
    uint8_t *rows;  /* [panel][row_stride] rows of a panel in the slab's dtype (log8: codes, then signs), padded */
    uint8_t *zeros; /* [row_stride] */
};

struct cpu_slab {
    struct lens_slab base;
    const struct cpu_variant *variant;
    const struct cpu_kernel *first, *second; /* layers 1 and 2 */
    struct cpu_matrix w1, w2;
    struct cpu_slot_layout layout;
    uint8_t *slots; /* [config.slots] of layout.stride, on huge pages inside `mapping` */
    void *mapping;
    size_t mapping_bytes;
    uint8_t *x; /* [max_batch_rows] of x_stride bytes in first->x_form, zero-padded */
    size_t x_stride;
    float *x_scale; /* [max_batch_rows] integer kernels */
    float *staged;  /* [dim] the row in f32 */
    void *raw;      /* [dim] private copy of the row as it came */
    uint32_t hidden_stride;
    size_t row_stride; /* bytes */
    uint32_t threads;
    struct cpu_scratch *scratch;             /* [threads] */
    struct cpu_write_scratch *write_scratch; /* [config.loaders] */
    void *scratch_memory, *write_memory;
};

static inline struct cpu_backend *cpu_backend_of(struct lens_slab *slab)
{
    return (struct cpu_backend *)slab->backend;
}

static inline uint8_t *cpu_slot(const struct cpu_slab *slab, uint32_t slot)
{
    return slab->slots + slab->layout.stride * slot;
}

/* The members of lens_backend_ops. */
int cpu_slab_size(struct lens_backend *backend, const struct lens_model *model, const struct lens_slab_config *config,
                  struct lens_slab_size *out, struct lens_error *err);
int cpu_slab_create(struct lens_backend *backend, const struct lens_model *model, const struct lens_slab_config *config,
                    struct lens_slab **out, struct lens_error *err);
void cpu_slab_destroy(struct lens_slab *slab);
int cpu_slot_write(struct lens_slab *slab, uint32_t loader, const struct lens_slot_write *writes, uint32_t n,
                   lens_slot_done_fn done, void *arg, struct lens_error *err);
uint64_t cpu_slot_bytes(const struct lens_slab *slab);
int cpu_stage(struct lens_slab *slab, uint32_t row, const void *source, enum lens_dtype dtype);
int cpu_score(struct lens_slab *slab, const struct lens_score_item *items, uint32_t n_items, const uint32_t *rows,
              float *logits, struct lens_error *err);

/* Parts of slot_write.c and slot_log8.c that use each other. Row h of stored W1 as f32; the outputs of the panel that
 * starts at `first`; packing rows[width] of one panel, bytes ordered by `group` (4: as they are). */
void cpu_decode_row(const struct lens_slot_write *w, uint32_t h, uint32_t dim, float *out);
uint32_t cpu_panel_width(const struct cpu_kernel *kernel, const struct cpu_matrix *matrix, uint32_t first);
void cpu_pack_panel(const struct cpu_slab *slab, const struct cpu_kernel *kernel, uint32_t group,
                    const void *const *rows, uint32_t width, uint32_t units, uint8_t *out);

/* W1 into a log8 slot. The check, of a log8 lens's [h1] ranges, comes before any write. */
int cpu_log8_check(const struct lens_slot_write *w, uint32_t h1, struct lens_error *err);
void cpu_write_log8(const struct cpu_slab *slab, const struct lens_slot_write *w, struct cpu_write_scratch *scratch);

/* Bytes that slabs can still take: what the kernel says is available, 0 when unknown. */
uint64_t cpu_memory_available(void);

#endif
