/* Slabs on a card: their memory, the model's tables on the device, and the graph that every run launches. All that a
 * run or a slot write needs is allocated here, once. */
#include "kernels/cuda/cuda.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STAGING_BYTES  ((uint64_t)64 << 20) /* of one loader at most, when a lens isn't larger */
#define STAGING_LENSES 32u
#define TURN_BYTES     ((size_t)8 << 20) /* of w2 that is transposed at a time */

static uint32_t edges(const struct lens_model *model)
{
    return (uint32_t)model->child_offsets[model->lenses];
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

static uint32_t wanted_staging(const struct lens_model *model)
{
    uint64_t lenses = STAGING_BYTES / cu_staged_bytes(model);
    return lenses > STAGING_LENSES ? STAGING_LENSES : lenses == 0 ? 1 : (uint32_t)lenses;
}

int cuda_slab_size(struct lens_backend *backend, const struct lens_model *model, const struct lens_slab_config *config,
                   struct lens_slab_size *out, struct lens_error *err)
{
    (void)backend;
    struct lens_slab_config one = *config;
    struct cu_slab_info info;
    struct cu_device_layout at;
    one.slots = model->lenses;
    int rc = cu_slab_info_init(model, &one, &info, err);
    if (rc != 0)
        return rc;
    cu_device_layout_init(&info, edges(model), &at);
    uint64_t staging = cu_staged_bytes(model) * wanted_staging(model) * config->loaders;
    *out = (struct lens_slab_size){.fixed_bytes = at.bytes + staging, .slot_bytes = info.slot_stride};
    return 0;
}

uint64_t cuda_slot_bytes(const struct lens_slab *slab)
{
    return ((const struct cuda_slab *)slab)->info.slot_stride;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static double mebibytes(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static int say_too_little(const struct cuda_slab *slab, struct lens_error *err)
{
    size_t unused = 0, total = 0;
    uint32_t loaders = slab->base.config.loaders;
    if (cudaMemGetInfo(&unused, &total) != cudaSuccess)
        cudaGetLastError();
    return lens_error_set(err, -ENOMEM,
                          "%u slots need %.1f MiB of the card, their tables %.1f MiB and %u loaders at least %.1f MiB, "
                          "and %.1f of its %.1f MiB are free; use fewer pool.slots, or a smaller engine.max_batch_rows",
                          slab->info.slots, mebibytes(slab->info.slot_stride * slab->info.slots),
                          mebibytes(slab->at.bytes), loaders, mebibytes(cu_staged_bytes(&slab->base.model) * loaders),
                          mebibytes(unused), mebibytes(total));
}

int cuda_take_device(struct cuda_slab *slab, uint64_t bytes, uint8_t **out, struct lens_error *err)
{
    void *memory = NULL;
    int rc = cuda_check(cuda_backend_of(&slab->base), cudaMalloc(&memory, bytes), "taking memory of the card", err);
    *out = memory;
    return rc == -ENOMEM ? say_too_little(slab, err) : rc;
}

/* The part of pinned memory at `offset`. */
static void *part(const struct cuda_host *host, uint64_t offset)
{
    return host->memory + offset;
}

static void point_into_host(struct cuda_slab *slab)
{
    const struct cu_host_layout *at = &slab->host_at;
    struct cuda_host *host = &slab->host;
    host->command = part(host, at->command);
    host->slot_of = part(host, at->slot_of);
    host->staged = part(host, at->staged);
    host->head = part(host, at->head);
    host->jobs = part(host, at->jobs);
    host->rows = part(host, at->row_results);
    host->detections = part(host, at->detections);
    host->expanded = part(host, at->expanded);
    host->list = part(host, at->list);
    host->logits = part(host, at->logits);
    host->retained = part(host, at->retained);
    host->used = part(host, at->used);
    host->missing = part(host, at->missing);
    host->left_out = part(host, at->left_out);
}

static int take_pinned(struct cuda_slab *slab, struct lens_error *err)
{
    struct cuda_backend *cuda = cuda_backend_of(&slab->base);
    void *memory = NULL;
    int rc = cuda_check(cuda, cudaHostAlloc(&memory, slab->host_at.bytes, cudaHostAllocPortable | cudaHostAllocMapped),
                        "locking memory for what a run says and answers", err);
    if (rc == -ENOMEM)
        return lens_error_set(err, -ENOMEM,
                              "could not lock %.1f MiB of this machine's memory for the card; use a "
                              "smaller engine.max_batch_rows",
                              mebibytes(slab->host_at.bytes));
    if (rc != 0)
        return rc;
    slab->host.memory = memory;
    point_into_host(slab);
    memset(slab->host.head, 0, sizeof *slab->host.head);
    return 0;
}

/* What the host itself keeps of jobs in flight. */
static int take_host(struct cuda_slab *slab, struct lens_error *err)
{
    size_t rows = slab->info.max_rows, lenses = slab->info.lenses;
    slab->flights = calloc(rows, sizeof *slab->flights);
    slab->free_ids = calloc(rows, sizeof *slab->free_ids);
    slab->next_row = calloc(rows, sizeof *slab->next_row);
    slab->free_rows = calloc(rows, sizeof *slab->free_rows);
    slab->dense = calloc(rows * lenses, sizeof *slab->dense);
    slab->seen = calloc(lenses, sizeof *slab->seen);
    slab->loaders = calloc(slab->base.config.loaders, sizeof *slab->loaders);
    if (slab->flights == NULL || slab->free_ids == NULL || slab->next_row == NULL || slab->free_rows == NULL ||
        slab->dense == NULL || slab->seen == NULL || slab->loaders == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the state of %u rows of %u lenses", slab->info.max_rows,
                              slab->info.lenses);
    cuda_forget_jobs(slab);
    return lens_slab_make_maps(&slab->base, err);
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static int open_stream(struct cuda_slab *slab, int priority, cudaStream_t *stream, cudaEvent_t *done,
                       struct lens_error *err)
{
    struct cuda_backend *cuda = cuda_backend_of(&slab->base);
    int rc =
        cuda_check(cuda, cudaStreamCreateWithPriority(stream, cudaStreamNonBlocking, priority), "making a stream", err);
    if (rc != 0)
        return rc;
    return cuda_check(cuda, cudaEventCreateWithFlags(done, cudaEventBlockingSync | cudaEventDisableTiming),
                      "making an event", err);
}

/* The same room for each loader; half as much, and again, when the card is nearly full. */
static int take_staging(struct cuda_slab *slab, struct lens_error *err)
{
    uint64_t lens = cu_staged_bytes(&slab->base.model);
    uint32_t lenses = wanted_staging(&slab->base.model), loaders = slab->base.config.loaders;
    int rc;
    while ((rc = cuda_take_device(slab, lens * lenses * loaders, &slab->staging, err)) == -ENOMEM && lenses > 1)
        lenses /= 2;
    for (uint32_t i = 0; i < loaders && rc == 0; i++)
        slab->loaders[i].staging = slab->staging + lens * lenses * i;
    slab->staged_lenses = lenses;
    return rc;
}

static int open_streams(struct cuda_slab *slab, struct lens_error *err)
{
    struct cuda_backend *cuda = cuda_backend_of(&slab->base);
    int least = 0, greatest = 0;
    int rc = cuda_check(cuda, cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for priorities", err);
    if (rc == 0)
        rc = open_stream(slab, greatest, &slab->stream, &slab->done, err);
    for (uint32_t i = 0; i < slab->base.config.loaders && rc == 0; i++)
        rc = open_stream(slab, least, &slab->loaders[i].stream, &slab->loaders[i].done, err);
    return rc;
}

/* ---- the model's tables ------------------------------------------------------------------------------------------ */

/* [h2][h1] -> [h1][h2] of one lens. */
static void transpose(const uint8_t *from, uint32_t h1, uint32_t h2, size_t size, uint8_t *to)
{
    for (uint32_t j = 0; j < h2; j++) {
        for (uint32_t h = 0; h < h1; h++)
            memcpy(to + ((size_t)h * h2 + j) * size, from + ((size_t)j * h1 + h) * size, size);
    }
}

/* On the stream of runs: cudaMemcpy may return before memory that isn't locked has arrived, and runs don't wait for it.
 */
static cudaError_t upload(const struct cuda_slab *slab, uint64_t at, const void *from, size_t bytes)
{
    if (bytes == 0)
        return cudaSuccess;
    return cudaMemcpyAsync(slab->memory + at, from, bytes, cudaMemcpyHostToDevice, slab->stream);
}

static int upload_w2(struct cuda_slab *slab, struct lens_error *err)
{
    const struct lens_model *model = &slab->base.model;
    size_t size = model->w2_dtype == LENS_BF16 ? 2 : 4, lens = (size_t)model->h1 * model->h2 * size;
    size_t at_a_time = lens < TURN_BYTES ? TURN_BYTES / lens : 1;
    uint8_t *chunk = malloc(at_a_time * lens);
    if (chunk == NULL)
        return lens_error_set(err, -ENOMEM, "no memory to transpose w2");
    cudaError_t status = cudaSuccess;
    for (size_t first = 0; first < model->lenses && status == cudaSuccess; first += at_a_time) {
        size_t n = model->lenses - first < at_a_time ? model->lenses - first : at_a_time;
        for (size_t i = 0; i < n; i++)
            transpose((const uint8_t *)model->w2 + (first + i) * lens, model->h1, model->h2, size, chunk + i * lens);
        status = upload(slab, slab->at.w2t + first * lens, chunk, n * lens);
        if (status == cudaSuccess)
            status = cudaStreamSynchronize(slab->stream); /* the chunk is used again */
    }
    free(chunk);
    return cuda_check(cuda_backend_of(&slab->base), status, "copying w2 to the card", err);
}

static int upload_tables(struct cuda_slab *slab, struct lens_error *err)
{
    const struct lens_model *m = &slab->base.model;
    const struct cu_device_layout *at = &slab->at;
    size_t n = m->lenses;
    const struct {
        uint64_t at;
        const void *from;
        size_t bytes;
    } tables[] = {
        {at->b1, m->b1, n * m->h1 * 4},
        {at->b2, m->b2, n * m->h2 * 4},
        {at->w3, m->w3, n * m->h2 * 4},
        {at->b3, m->b3, n * 4},
        {at->child_offsets, m->child_offsets, (n + 1) * 4},
        {at->child_ids, m->child_ids, (size_t)edges(m) * 4},
        {at->layer, m->layer, n},
        {at->calibration, m->calibration, n * LENS_CALIBRATION_FIELDS * 4},
    };
    cudaError_t status = cudaSuccess;
    for (unsigned i = 0; i < sizeof tables / sizeof tables[0] && status == cudaSuccess; i++)
        status = upload(slab, tables[i].at, tables[i].from, tables[i].bytes);
    int rc = cuda_check(cuda_backend_of(&slab->base), status, "copying the model's tables to the card", err);
    return rc != 0 ? rc : upload_w2(slab, err);
}

/* ---- state ------------------------------------------------------------------------------------------------------- */

static void point_tables(struct cuda_slab *slab)
{
    const struct cu_device_layout *at = &slab->at;
    struct cu_slab_info *info = &slab->info;
    uint8_t *memory = slab->memory;
    info->chunks = (uint8_t *const *)(memory + at->chunks);
    info->b1 = (const float *)(memory + at->b1);
    info->w2t = memory + at->w2t;
    info->b2 = (const float *)(memory + at->b2);
    info->w3 = (const float *)(memory + at->w3);
    info->b3 = (const float *)(memory + at->b3);
    info->child_offsets = (const int32_t *)(memory + at->child_offsets);
    info->child_ids = (const int32_t *)(memory + at->child_ids);
    info->layer = memory + at->layer;
    info->calibration = (const float *)(memory + at->calibration);
}

/* Where the device finds the pinned results. */
static int point_results(struct cuda_slab *slab, struct lens_error *err)
{
    const struct cu_host_layout *at = &slab->host_at;
    void *view = NULL;
    int rc = cuda_check(cuda_backend_of(&slab->base), cudaHostGetDevicePointer(&view, slab->host.memory, 0),
                        "finding the results' memory on the card", err);
    uint8_t *device = view;
    if (rc == 0)
        slab->state.results = (struct cu_results){
            .head = (struct cu_result_head *)(device + at->head),
            .jobs = (struct cu_job_out *)(device + at->jobs),
            .rows = (struct cu_row_result *)(device + at->row_results),
            .detections = (struct lens_detection *)(device + at->detections),
            .expanded = (uint32_t *)(device + at->expanded),
            .list = (uint32_t *)(device + at->list),
            .logits = (float *)(device + at->logits),
            .retained = (uint32_t *)(device + at->retained),
            .used = (uint32_t *)(device + at->used),
            .missing = (uint32_t *)(device + at->missing),
            .left_out = (uint32_t *)(device + at->left_out),
        };
    slab->host_view = device;
    return rc;
}

/* After point_results, which finds the host's memory. */
static void point_state(struct cuda_slab *slab)
{
    const struct cu_device_layout *at = &slab->at;
    struct cu_state *s = &slab->state;
    uint8_t *memory = slab->memory;
    s->info = slab->info;
    s->command = (struct cu_command *)(memory + at->command);
    s->told = (const struct cu_command *)(slab->host_view + slab->host_at.command);
    s->slot_of = (uint32_t *)(memory + at->slot_of);
    s->told_slots = (const uint32_t *)(slab->host_view + slab->host_at.slot_of);
    s->rows = (struct cu_row *)(memory + at->rows);
    s->marks = memory + at->marks;
    s->marks_stride = (slab->info.lenses + 15u) / 16u * 16u;
    s->list = (uint32_t *)(memory + at->list);
    s->logits = (float *)(memory + at->logits);
    s->claim = (uint32_t *)(memory + at->claim);
    s->order = (uint32_t *)(memory + at->order);
    s->keys = (uint64_t *)(memory + at->keys);
    s->wide = (float *)(memory + at->wide);
    s->x = memory + at->x;
    s->x_scale = (float *)(memory + at->x_scale);
    s->items[0] = (struct cu_item *)(memory + at->items[0]);
    s->items[1] = (struct cu_item *)(memory + at->items[1]);
    s->count = (uint32_t *)(memory + at->count);
    s->item_rows = (uint16_t *)(memory + at->item_rows);
    s->tiles_done = (uint32_t *)(memory + at->tiles_done);
    s->hidden = (float *)(memory + at->hidden);
    s->used_in = (uint64_t *)(memory + at->used_in);
    s->missing = (uint32_t *)(memory + at->missing);
    s->left_out = (uint32_t *)(memory + at->left_out);
}

int cuda_reset_state(struct cuda_slab *slab, struct lens_error *err)
{
    const struct cu_device_layout *at = &slab->at;
    size_t lenses = slab->info.lenses, rows = slab->info.max_rows, words = slab->info.words;
    const struct {
        uint64_t at;
        size_t bytes;
        int value;
    } fills[] = {
        {at->slot_of, lenses * 4, 0xff}, {at->rows, rows * sizeof(struct cu_row), 0},
        {at->count, lenses * 4, 0},      {at->marks, rows * slab->state.marks_stride, 0},
        {at->tiles_done, lenses * 4, 0}, {at->used_in, lenses * 8, 0},
        {at->missing, words * 4, 0},     {at->left_out, words * 4, 0},
    };
    slab->dirty = true;
    slab->sent_changes = UINT64_MAX;
    cudaError_t status = cudaStreamSynchronize(slab->stream); /* of a run that went wrong halfway */
    for (unsigned i = 0; i < sizeof fills / sizeof fills[0] && status == cudaSuccess; i++)
        status = cudaMemsetAsync(slab->memory + fills[i].at, fills[i].value, fills[i].bytes, slab->stream);
    if (status == cudaSuccess)
        status = cudaMemcpyAsync(slab->memory + at->state, &slab->state, sizeof slab->state, cudaMemcpyHostToDevice,
                                 slab->stream);
    if (status == cudaSuccess)
        status = cudaStreamSynchronize(slab->stream);
    if (status != cudaSuccess)
        return cuda_fail(cuda_backend_of(&slab->base), status, "resetting the state of a slab", err);
    slab->dirty = false;
    return 0;
}

/* ---- the graph: fetch -> begin -> while (score -> expand) -> finish ---------------------------------------------- */

static cudaError_t add_kernel(struct cuda_slab *slab, cudaGraph_t graph, const void *kernel, uint32_t blocks,
                              const cudaGraphNode_t *after, cudaGraphNode_t *out)
{
    void *state = slab->memory + slab->at.state;
    void *arguments[] = {&state};
    struct cudaKernelNodeParams parameters = {.func = (void *)(uintptr_t)kernel,
                                              .gridDim = {blocks, 1, 1},
                                              .blockDim = {LENS_CU_THREADS, 1, 1},
                                              .kernelParams = arguments};
    return cudaGraphAddKernelNode(out, graph, after, after != NULL, &parameters);
}

/* The loop over passes; its body is CUDA's, made with the node. */
static cudaError_t add_loop(struct cuda_slab *slab, const cudaGraphNode_t *after, cudaGraphNode_t *out)
{
    cudaGraphConditionalHandle handle;
    cudaError_t status = cudaGraphConditionalHandleCreate(&handle, slab->graph, 0, cudaGraphCondAssignDefault);
    if (status != cudaSuccess)
        return status;
    slab->state.condition = handle;
    struct cudaGraphNodeParams parameters = {.type = cudaGraphNodeTypeConditional};
    parameters.conditional.handle = handle;
    parameters.conditional.type = cudaGraphCondTypeWhile;
    parameters.conditional.size = 1;
    status = cudaGraphAddNode(out, slab->graph, after, NULL, 1, &parameters);
    if (status != cudaSuccess)
        return status;
    cudaGraph_t body = parameters.conditional.phGraph_out[0];
    cudaGraphNode_t score, expand;
    status = add_kernel(slab, body, (const void *)cu_score, slab->grids.score, NULL, &score);
    if (status == cudaSuccess)
        status = add_kernel(slab, body, (const void *)cu_expand, slab->grids.rows, &score, &expand);
    return status;
}

static int build_graph(struct cuda_slab *slab, struct lens_error *err)
{
    cudaGraphNode_t fetch, begin, loop, finish;
    cudaError_t status = cudaGraphCreate(&slab->graph, 0);
    if (status == cudaSuccess)
        status = add_kernel(slab, slab->graph, (const void *)cu_fetch, slab->grids.fetch, NULL, &fetch);
    if (status == cudaSuccess)
        status = add_kernel(slab, slab->graph, (const void *)cu_begin, slab->grids.rows, &fetch, &begin);
    if (status == cudaSuccess)
        status = add_loop(slab, &begin, &loop);
    if (status == cudaSuccess)
        status = add_kernel(slab, slab->graph, (const void *)cu_finish, slab->grids.rows, &loop, &finish);
    if (status == cudaSuccess)
        status = cudaGraphInstantiate(&slab->exec, slab->graph, 0);
    if (status == cudaSuccess)
        status = cudaGraphUpload(slab->exec, slab->stream);
    return cuda_check(cuda_backend_of(&slab->base), status, "making the graph of a run", err);
}

/* ---- making and ending ------------------------------------------------------------------------------------------- */

/* Frees whatever is there, on a lost card too. */
void cuda_slab_destroy(struct lens_slab *base)
{
    if (base == NULL)
        return;
    struct cuda_slab *slab = (struct cuda_slab *)base;
    cudaSetDevice(cuda_backend_of(base)->device);
    if (slab->stream != NULL)
        cudaStreamSynchronize(slab->stream);
    if (slab->exec != NULL)
        cudaGraphExecDestroy(slab->exec);
    if (slab->graph != NULL)
        cudaGraphDestroy(slab->graph);
    for (uint32_t i = 0; slab->loaders != NULL && i < base->config.loaders; i++) {
        if (slab->loaders[i].done != NULL)
            cudaEventDestroy(slab->loaders[i].done);
        if (slab->loaders[i].stream != NULL)
            cudaStreamDestroy(slab->loaders[i].stream);
    }
    if (slab->done != NULL)
        cudaEventDestroy(slab->done);
    if (slab->stream != NULL)
        cudaStreamDestroy(slab->stream);
    cuda_free_chunks(slab);
    cudaFree(slab->memory);
    cudaFree(slab->staging);
    if (slab->host.memory != NULL)
        cudaFreeHost(slab->host.memory);
    cudaGetLastError();
    free(slab->flights);
    free(slab->free_ids);
    free(slab->next_row);
    free(slab->free_rows);
    free(slab->dense);
    free(slab->seen);
    free(slab->loaders);
    lens_slab_free_maps(base);
    free(slab);
}

static int make(struct cuda_slab *slab, struct lens_error *err)
{
    int rc = take_host(slab, err);
    if (rc == 0)
        rc = cuda_take_chunks(slab, err);
    if (rc == 0)
        rc = cuda_take_device(slab, slab->at.bytes, &slab->memory, err);
    if (rc == 0)
        rc = take_staging(slab, err);
    if (rc == 0)
        rc = take_pinned(slab, err);
    if (rc == 0)
        rc = open_streams(slab, err);
    if (rc == 0)
        rc = upload_tables(slab, err);
    if (rc == 0)
        rc = cuda_send_chunks(slab, err);
    if (rc != 0)
        return rc;
    point_tables(slab);
    rc = point_results(slab, err);
    point_state(slab);
    if (rc == 0)
        rc = build_graph(slab, err);
    return rc != 0 ? rc : cuda_reset_state(slab, err);
}

int cuda_slab_create(struct lens_backend *backend, const struct lens_model *model,
                     const struct lens_slab_config *config, struct lens_slab **out, struct lens_error *err)
{
    *out = NULL;
    struct cuda_backend *cuda = (struct cuda_backend *)backend;
    struct cu_slab_info info;
    int rc = cu_slab_info_init(model, config, &info, err);
    if (rc == 0)
        rc = cuda_enter(cuda, err);
    if (rc != 0)
        return rc;
    struct cuda_slab *slab = calloc(1, sizeof *slab);
    if (slab == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a slab");
    slab->base.backend = backend;
    slab->base.model = *model;
    slab->base.config = *config;
    slab->base.slot_unit = 1u << info.chunk_shift;
    slab->info = info;
    cu_device_layout_init(&info, edges(model), &slab->at);
    cu_host_layout_init(&info, &slab->host_at);
    cu_grids_init(&info, &cuda->card, &slab->grids);
    rc = make(slab, err);
    if (rc != 0) {
        cuda_slab_destroy(&slab->base);
        return rc;
    }
    *out = &slab->base;
    return 0;
}
