/* See ring_pair.h. */
#include "tests/unit/support/ring_pair.h"

struct lens_ring_layout small_layout(void)
{
    return (struct lens_ring_layout){.dim = DIM,
                                     .max_rows = MAX_ROWS,
                                     .top_k = TOP_K,
                                     .expanded_capacity = EXPANDED,
                                     .submit_slots = SUBMIT_SLOTS,
                                     .result_slots = RESULT_SLOTS};
}

void open_pair(struct pair *p, uint64_t payload)
{
    struct lens_ring_layout layout = small_layout();
    layout.payload_bytes = payload;
    assert_int_equal(lens_ring_layout_init(&layout, LIMIT), 0);
    p->memory = aligned_alloc(4096, layout.total_bytes);
    assert_non_null(p->memory);
    memset(p->memory, 0, 4096);
    memset(p->memory + 4096, 0xa5, layout.total_bytes - 4096);
    p->header = (struct lens_shm_header *)(void *)p->memory;
    lens_ring_server_init(&p->server, &layout, p->memory);
    assert_int_equal(lens_ring_client_init(&p->client, &layout, p->memory, layout.total_bytes, p->ends), 0);
}

void close_pair(struct pair *p)
{
    free(p->memory);
}

uint64_t largest(void)
{
    return lens_payload_bytes(DIM, MAX_ROWS, LENS_F32, true);
}

int submit(struct pair *p, uint32_t rows, uint8_t dtype, bool ids, unsigned char fill)
{
    struct lens_submit_descriptor d;
    void *place;
    int32_t *tokens;
    memset(&d, 0xee, sizeof d);
    int r = lens_ring_client_acquire(&p->client, rows, dtype, ids, &d, &place, &tokens);
    if (r != 0)
        return r;
    memset(place, fill, (size_t)rows * DIM * lens_dtype_bytes((enum lens_dtype)dtype));
    assert_true((tokens != NULL) == ids);
    for (uint32_t i = 0; tokens != NULL && i < rows; i++)
        tokens[i] = fill + (int32_t)i;
    lens_ring_client_submit(&p->client, &d);
    return 0;
}

int take(struct pair *p, struct lens_submit_descriptor *d)
{
    memset(d, 0xee, sizeof *d);
    return lens_ring_server_take(&p->server, d);
}

void answer(struct pair *p, uint32_t row)
{
    struct lens_result result;
    assert_true(lens_ring_server_reserve(&p->server, &result));
    memset(result.header, 0, sizeof *result.header);
    result.header->row = row;
    result.header->detections = TOP_K;
    result.header->expanded_stored = EXPANDED;
    for (uint32_t i = 0; i < TOP_K; i++)
        result.detections[i] = (struct lens_detection){.id = 100 * row + i, .score = 0.5f, .raw = 0.25f, .logit = -1};
    for (uint32_t i = 0; i < EXPANDED; i++)
        result.expanded[i] = 1000 * row + i;
    lens_ring_server_publish(&p->server);
}

void poke(void *base, const struct poke *p)
{
    memcpy((unsigned char *)base + p->offset, &p->value, p->width);
}
