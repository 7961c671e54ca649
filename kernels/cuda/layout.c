/* See layout.h. Everything that could overflow is refused by cu_slab_info_init; the rest is sums of what passed. */
#include "kernels/cuda/layout.h"

#include <errno.h>

#define ALIGN 256u

/* First-layer sums that a pass keeps at a time: beyond that a pass is done in windows. */
#define HIDDEN_BYTES ((uint64_t)64 << 20)

/* Of slots in one allocation at most, and how many chunks a slab has at least where it has as many slots. */
#define CHUNK_BYTES ((uint64_t)128 << 20)
#define CHUNKS      16u

static uint64_t round_up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- what a slab may be ------------------------------------------------------------------------------------------ */

static int choose_product(const struct lens_slab_config *config, uint32_t *out, struct lens_error *err)
{
    static const struct {
        enum lens_dtype dtype;
        enum lens_compute compute;
        enum cu_product product;
    } products[] = {
        {LENS_F32, LENS_COMPUTE_EXACT, CU_PRODUCT_F32},  {LENS_BF16, LENS_COMPUTE_EXACT, CU_PRODUCT_BF16_EXACT},
        {LENS_BF16, LENS_COMPUTE_BF16, CU_PRODUCT_BF16}, {LENS_I8, LENS_COMPUTE_EXACT, CU_PRODUCT_I8_EXACT},
        {LENS_I8, LENS_COMPUTE_INT8, CU_PRODUCT_I8},     {LENS_FP8, LENS_COMPUTE_EXACT, CU_PRODUCT_FP8_EXACT},
    };
    for (unsigned i = 0; i < sizeof products / sizeof products[0]; i++) {
        if (products[i].dtype == config->dtype && products[i].compute == config->compute) {
            *out = products[i].product;
            return 0;
        }
    }
    return lens_error_set(err, -ENOTSUP,
                          "compute %s doesn't work on %s slots of a card: exact takes f32, bf16, int8 or fp8 slots, "
                          "bf16 takes bf16 slots, int8 takes int8 slots",
                          lens_compute_name(config->compute), lens_dtype_name(config->dtype));
}

static int check_sizes(const struct lens_model *model, const struct lens_slab_config *config, struct lens_error *err)
{
    int rc = lens_slab_check(model, config, err);
    if (rc != 0)
        return rc;
    if (config->max_batch_rows > UINT16_MAX)
        return lens_error_set(err, -EINVAL, "a slab for %u rows: at most %u may be in flight on a card",
                              config->max_batch_rows, UINT16_MAX);
    return 0;
}

/* True when a * b * c fits 32 bits. */
static bool counts_fit(uint64_t a, uint64_t b, uint64_t c)
{
    return a * b <= UINT32_MAX && a * b * c <= UINT32_MAX;
}

/* Kernels count elements in 32 bits; bit 31 of a slot says where its lens came from. */
static int check_counts(const struct lens_model *model, const struct lens_slab_config *config, struct lens_error *err)
{
    uint64_t k = round_up(model->dim, LENS_CU_K_ALIGN), h1 = round_up(model->h1, LENS_CU_TILE);
    if (config->slots > INT32_MAX || model->lenses > INT32_MAX)
        return lens_error_set(err, -EINVAL, "%u slots for %u lenses: a card takes less than 2^31 of each",
                              config->slots, model->lenses);
    if (h1 > UINT32_MAX || k > UINT32_MAX || !counts_fit(model->lenses, h1, model->h2) || !counts_fit(h1, k, 4))
        return lens_error_set(err, -EINVAL,
                              "%u lenses %u -> %u -> %u are too large for a card: w2 of all, and w1 of "
                              "one in bytes, must count less than 2^32",
                              model->lenses, model->dim, model->h1, model->h2);
    if (!counts_fit(config->max_batch_rows, model->lenses, 4) ||
        !counts_fit(config->max_batch_rows, k, LENS_CU_SPLITS) || !counts_fit(config->max_batch_rows, h1, 1))
        return lens_error_set(
            err, -EINVAL,
            "%u rows of %u lenses and %u dimensions are too many for a card: rows times "
            "lenses must stay below 2^30, rows times dimensions below 2^32 / 3; use a smaller engine.max_batch_rows",
            config->max_batch_rows, model->lenses, model->dim);
    return 0;
}

/* ---- sizes of a slab --------------------------------------------------------------------------------------------- */

static void size_slots(const struct lens_slab_config *config, struct cu_slab_info *out)
{
    uint64_t row_bytes = (uint64_t)out->k_padded * lens_dtype_bytes(config->dtype);
    bool scales = config->dtype == LENS_I8 || config->dtype == LENS_FP8;
    out->tiles = out->h1_padded / LENS_CU_TILE;
    out->steps = (uint32_t)(row_bytes / 64);
    out->scale_offset = (uint64_t)out->tiles * out->steps * 1024;
    out->slot_stride = round_up(out->scale_offset + (scales ? (uint64_t)out->h1_padded * 4 : 0), ALIGN);
}

/* Slots come and go by chunks: a power of two of them. */
static void size_chunks(struct cu_slab_info *out)
{
    uint64_t shift = 0;
    while (((uint64_t)2 << shift) * out->slot_stride <= CHUNK_BYTES && ((uint64_t)2 << shift) * CHUNKS <= out->slots)
        shift++;
    out->chunk_shift = (uint32_t)shift;
    out->n_chunks = (uint32_t)(round_up(out->slots, (uint64_t)1 << shift) >> shift);
}

uint64_t cu_chunk_bytes(const struct cu_slab_info *info, uint32_t chunk)
{
    uint64_t first = (uint64_t)chunk << info->chunk_shift, most = (uint64_t)1 << info->chunk_shift;
    return smaller(most, info->slots - first) * info->slot_stride;
}

int cu_slab_info_init(const struct lens_model *model, const struct lens_slab_config *config, struct cu_slab_info *out,
                      struct lens_error *err)
{
    uint32_t product = CU_PRODUCT_F32;
    int rc = check_sizes(model, config, err);
    if (rc == 0)
        rc = choose_product(config, &product, err);
    if (rc == 0)
        rc = check_counts(model, config, err);
    if (rc != 0)
        return rc;
    *out = (struct cu_slab_info){.lenses = model->lenses,
                                 .dim = model->dim,
                                 .h1 = model->h1,
                                 .h2 = model->h2,
                                 .k_padded = (uint32_t)round_up(model->dim, LENS_CU_K_ALIGN),
                                 .h1_padded = (uint32_t)round_up(model->h1, LENS_CU_TILE),
                                 .slots = config->slots,
                                 .max_rows = config->max_batch_rows,
                                 .words = (uint32_t)round_up(model->lenses, 32) / 32,
                                 .product = product,
                                 .normalize = model->normalize,
                                 .w2_bf16 = model->w2_dtype == LENS_BF16};
    bool one = product == CU_PRODUCT_F32 || product == CU_PRODUCT_BF16 || product == CU_PRODUCT_I8;
    out->columns = one ? 1 : LENS_CU_SPLITS;
    size_slots(config, out);
    size_chunks(out);
    uint64_t pairs = larger(HIDDEN_BYTES / ((uint64_t)out->h1_padded * 4), out->max_rows);
    out->max_pairs = (uint32_t)smaller(pairs, (uint64_t)out->max_rows * out->lenses);
    return 0;
}

uint64_t cu_stored_bytes(const struct lens_model *model, enum lens_dtype stored)
{
    uint64_t h1 = model->h1, bytes = h1 * model->dim * lens_dtype_bytes(stored);
    if (stored == LENS_I8)
        bytes += h1 * 4;
    if (stored == LENS_LOG8)
        bytes += h1 * ((model->dim + 7u) / 8u) + h1 * 8;
    return bytes;
}

uint64_t cu_staged_bytes(const struct lens_model *model)
{
    static const enum lens_dtype stored[] = {LENS_F32, LENS_BF16, LENS_I8, LENS_LOG8};
    uint64_t most = 0;
    for (unsigned i = 0; i < sizeof stored / sizeof stored[0]; i++)
        most = larger(most, cu_stored_bytes(model, stored[i]));
    return round_up(most, 16) + 4 * (uint64_t)16; /* w1, signs, two ranges */
}

/* ---- where things lie -------------------------------------------------------------------------------------------- */

/* The next `count` things of `size` bytes. */
static uint64_t take(uint64_t *used, uint64_t count, uint64_t size)
{
    uint64_t at = *used;
    *used = round_up(at + count * size, ALIGN);
    return at;
}

/* Every row in a job of its own, each with lists of all lenses and both bitmaps. Bitmaps come as 64-bit words. */
static uint64_t command_bytes(const struct cu_slab_info *info)
{
    uint64_t job = sizeof(struct cu_live) + sizeof(struct cu_job);
    uint64_t payload = (3 * (uint64_t)info->lenses + 2 * (uint64_t)info->words) * 4;
    return sizeof(struct cu_command) + (uint64_t)info->max_rows * (job + payload) + (uint64_t)info->lenses * 4;
}

static uint32_t x_bytes(const struct cu_slab_info *info)
{
    return info->product == CU_PRODUCT_F32 ? 4 : info->product == CU_PRODUCT_I8 ? 1 : 2;
}

static void lay_tables(const struct cu_slab_info *info, uint64_t n_edges, struct cu_device_layout *out, uint64_t *used)
{
    uint64_t n = info->lenses;
    out->b1 = take(used, n * info->h1, 4);
    out->w2t = take(used, n * info->h1 * info->h2, info->w2_bf16 ? 2 : 4);
    out->b2 = take(used, n * info->h2, 4);
    out->w3 = take(used, n * info->h2, 4);
    out->b3 = take(used, n, 4);
    out->child_offsets = take(used, n + 1, 4);
    out->child_ids = take(used, n_edges, 4);
    out->layer = take(used, n, 1);
    out->calibration = take(used, n * LENS_CALIBRATION_FIELDS, 4);
}

void cu_device_layout_init(const struct cu_slab_info *info, uint64_t n_edges, struct cu_device_layout *out)
{
    uint64_t n = info->lenses, rows = info->max_rows, used = 0;
    out->state = take(&used, 1, sizeof(struct cu_state));
    out->command = take(&used, command_bytes(info), 1);
    out->slot_of = take(&used, n, 4);
    out->rows = take(&used, rows, sizeof(struct cu_row));
    out->marks = take(&used, rows, round_up(n, 16));
    out->list = take(&used, rows * n, 4);
    out->logits = take(&used, rows * n, 4);
    out->claim = take(&used, rows * n, 4);
    out->order = take(&used, rows * n, 4);
    out->keys = take(&used, rows * 3 * n, 8);
    out->wide = take(&used, rows * info->k_padded, 4);
    out->x = take(&used, rows * info->columns * info->k_padded, x_bytes(info));
    out->x_scale = take(&used, rows, 4);
    out->items[0] = take(&used, n, sizeof(struct cu_item));
    out->items[1] = take(&used, n, sizeof(struct cu_item));
    out->count = take(&used, n, 4);
    out->item_rows = take(&used, n * rows, 2);
    out->tiles_done = take(&used, n, 4);
    out->hidden = take(&used, (uint64_t)info->max_pairs * info->h1_padded, 4);
    out->used_in = take(&used, n, 8);
    out->missing = take(&used, info->words, 4);
    out->left_out = take(&used, info->words, 4);
    out->chunks = take(&used, info->n_chunks, 8);
    lay_tables(info, n_edges, out, &used);
    out->bytes = used;
}

void cu_host_layout_init(const struct cu_slab_info *info, struct cu_host_layout *out)
{
    uint64_t n = info->lenses, rows = info->max_rows, used = 0;
    out->command_bytes = command_bytes(info);
    out->command = take(&used, out->command_bytes, 1);
    out->slot_of = take(&used, n, 4);
    out->staged = take(&used, rows * info->dim, 4);
    out->head = take(&used, 1, sizeof(struct cu_result_head));
    out->jobs = take(&used, rows, sizeof(struct cu_job_out));
    out->row_results = take(&used, rows, sizeof(struct cu_row_result));
    out->detections = take(&used, rows * LENS_MAX_TOP_K, sizeof(struct lens_detection));
    out->expanded = take(&used, rows * n, 4);
    out->list = take(&used, rows * n, 4);
    out->logits = take(&used, rows * n, 4);
    out->retained = take(&used, rows * n, 4);
    out->used = take(&used, n, 4);
    out->missing = take(&used, info->words, 4);
    out->left_out = take(&used, info->words, 4);
    out->bytes = used;
}

/* Two blocks of a row kernel fit a multiprocessor at any size; more rows take turns. */
#define FETCH_BLOCKS 8u /* 128 KiB under way */

void cu_grids_init(const struct cu_slab_info *info, const struct cu_card *card, struct cu_grids *out)
{
    uint64_t blocks = larger(card->blocks_per_multiprocessor, 1);
    out->fetch = (uint32_t)smaller(FETCH_BLOCKS, larger(card->multiprocessors, 1));
    out->rows = (uint32_t)smaller(info->max_rows, larger(2 * (uint64_t)card->multiprocessors, 1));
    out->score =
        (uint32_t)smaller((uint64_t)info->lenses * info->tiles, larger((uint64_t)card->multiprocessors * blocks, 1));
}
