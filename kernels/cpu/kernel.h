/* What differs between the CPU backend's variants: how a matrix lies in memory, and the grouped product over it.
 *
 * Layout. A matrix [outputs, dim] (W1, or W2 with dim = H1) is cut into 32-bit units: one f32, two bf16 or four int8
 * that follow each other along dim. Outputs are padded to whole vectors of `lanes` and cut into panels of at most
 * `panel` outputs. A panel is unit-major: all its outputs' unit 0, then all their unit 1, and so on; so a product
 * reads a panel as one ascending stream, a weight vector holds `lanes` outputs, and the activation is a broadcast. No
 * horizontal sums: every (output, row) is one chain of additions in ascending dim, whatever the tile it is computed
 * in. That is what makes a row's bits independent of its batch.
 *
 *     panel p:  unit 0: | out 0..lanes-1 | out lanes.. | ...   (panel width / lanes vectors of lanes*4 bytes)
 *               unit 1: | ...
 *
 * Inside one vector of int8 the 4*lanes bytes are ordered [4/group][lanes][group] (group = how many along dim one
 * instruction takes per output): 4 for VNNI, 2 for madd, 1 when codes are widened to f32. bf16 is always
 * [lanes][2]. With lanes = panel = 1 the layout is the plain row-major matrix, which the scalar variant uses.
 *
 * log8 is two matrices: codes laid out like int8 with group 1, each with its top bit flipped (so that it is a signed
 * number, its distance from the middle code), and signs, 32 of them along dim a unit, bit i for the i-th. A weight is
 * middle * 2^(step * (code - 128)), with a step for each output; the middle multiplies the sum, as int8's scale does.
 * Code 0, which is -128 here, means zero.
 *
 * Threads: kernels are pure functions over their arguments. */
#ifndef LENS_CPU_KERNEL_H
#define LENS_CPU_KERNEL_H

#include "kernels/backend.h"

/* Rows of one product call at most; more are done in chunks. */
#define CPU_ROW_CHUNK 64u

/* f32 values a product may need as scratch: 32 steps of the widest panel. */
#define CPU_WIDEN_FLOATS (32u * 128u)

#define CPU_MAX_LANES 16u
#define CPU_MAX_PANEL 128u

/* What a kernel wants x^ as. */
enum cpu_x_form {
    CPU_X_F32,
    CPU_X_F32_ROUNDED, /* f32 holding values rounded to bf16 */
    CPU_X_BF16,
    CPU_X_I16, /* int8 codes in 16 bits */
    CPU_X_U8   /* int8 codes + 128 */
};

static inline uint32_t cpu_x_bytes(enum cpu_x_form form)
{
    static const uint32_t bytes[] = {4, 4, 2, 2, 1};
    return bytes[form];
}

/* Units of log8 codes that one unit of signs goes with. */
#define CPU_LOG8_UNITS 8u

/* A log8 code as it lies in a slot when it means zero. */
#define CPU_LOG8_ZERO (-128)

/* A step's largest magnitude: 2^(step * 127) and its inverse stay normal numbers. */
#define CPU_LOG8_MAX_STEP 0.98f

/* One call: acc[r][o] = sum over dim of w[o][d] * x[r][d], for n rows. */
struct cpu_product {
    const void *weights;  /* packed */
    const void *const *x; /* [n] rows in the kernel's form, zero-padded to whole units */
    void *acc;            /* [n][padded], f32, or i32 for integer kernels; need not be initialised */
    float *scratch;       /* CPU_WIDEN_FLOATS, this thread's own, 64-byte aligned */
    uint32_t n;           /* 1..CPU_ROW_CHUNK */
    uint32_t units;       /* 32-bit units along dim */
    uint32_t padded;      /* outputs, padded to lanes */
    const void *signs;    /* log8: packed */
    const float *steps;   /* log8: [padded] */
};

struct cpu_kernel {
    enum lens_dtype dtype; /* of the weights */
    enum cpu_x_form x_form;
    bool integer;   /* acc is i32 */
    uint32_t lanes; /* 1..CPU_MAX_LANES */
    uint32_t panel; /* outputs; a multiple of lanes */
    uint32_t group; /* int8 only */
    void (*product)(const struct cpu_product *product);
};

/* From first-layer sums to the second layer's input, one row: hidden = relu(acc * scale + b1). */
struct cpu_hidden {
    const void *acc;     /* [padded] f32 or i32 */
    const float *scale;  /* [padded] of W1 (log8: the middles), NULL when weights have none */
    const int32_t *bias; /* [padded] integer kernels: subtracted from acc first (128 * sum of codes, or 0) */
    const float *b1;     /* [outputs] */
    float x_scale;       /* integer kernels: of the row */
    uint32_t outputs;
};

struct cpu_variant {
    const char *name;
    /* NULL when the variant has no kernel for the pair. */
    const struct cpu_kernel *(*kernel)(enum lens_dtype dtype, enum lens_compute compute);
    void (*hidden)(const struct cpu_hidden *hidden, bool integer, float *out);
    /* b3 + sum of w3 * relu(acc + b2) in one fixed order. */
    float (*logit)(const float *acc, const float *b2, const float *w3, float b3, uint32_t h2);
    /* Packs units [first, first + n) of rows[lanes] into vectors at out, out + stride, ... (stride in bytes), int8
     * ordered by `group` (4 for all else). Rows need no alignment, vectors have it. Stores may bypass the caches: a
     * store fence must follow before another thread may read. */
    void (*pack)(const void *const *rows, uint32_t first, uint32_t n, uint32_t group, uint8_t *out, size_t stride);
};

extern const struct cpu_variant cpu_variant_scalar;
extern const struct cpu_variant cpu_variant_avx2;
extern const struct cpu_variant cpu_variant_avx512;

/* Kernels of the avx512 variant that need more than its base set; used when the processor has it. */
extern const struct cpu_kernel cpu_kernel_avx512vnni;
extern const struct cpu_kernel cpu_kernel_avx512bf16;

/* What the avx512 variant uses without them; NULL as in `kernel`. For tests on processors that have them. */
const struct cpu_kernel *cpu_avx512_base_kernel(enum lens_dtype dtype, enum lens_compute compute);

/* The kernel of a variant for EXACT products with weights of `dtype` (F32 or BF16 for the second layer). */
static inline const struct cpu_kernel *cpu_exact_kernel(const struct cpu_variant *variant, enum lens_dtype dtype)
{
    return variant->kernel(dtype, LENS_COMPUTE_EXACT);
}

/* Elements of one 32-bit unit of weights. */
static inline uint32_t cpu_depth(const struct cpu_kernel *kernel)
{
    return kernel->dtype == LENS_F32 ? 1 : kernel->dtype == LENS_BF16 ? 2 : 4;
}

/* Units of a row of signs that goes with `units` units of log8 codes. */
static inline uint32_t cpu_sign_units(uint32_t units)
{
    return (units + CPU_LOG8_UNITS - 1) / CPU_LOG8_UNITS;
}

/* A packed matrix's shape under a kernel. */
struct cpu_matrix {
    uint32_t outputs, padded; /* as given, and up to whole vectors */
    uint32_t dim, units;
    size_t bytes;
};

static inline struct cpu_matrix cpu_matrix_of(const struct cpu_kernel *kernel, uint32_t outputs, uint32_t dim)
{
    uint32_t depth = cpu_depth(kernel);
    struct cpu_matrix m = {.outputs = outputs, .dim = dim};
    m.padded = (outputs + kernel->lanes - 1) / kernel->lanes * kernel->lanes;
    m.units = (dim + depth - 1) / depth;
    m.bytes = (size_t)m.padded * m.units * 4;
    return m;
}

#endif
