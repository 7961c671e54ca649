/* See ring.h. What is shared is only ever touched through the accessors at the top: every index and flag by an atomic
 * load, store or exchange, every descriptor by one copy. Nothing read from shared memory is used before it is checked
 * against private geometry, and nothing is read twice. */
#include "proto/ring.h"

#include "proto/dtype.h"

#include <errno.h>
#include <string.h>

enum { PAGE = 4096, LINE = LENS_PAYLOAD_ALIGN, SUBMIT_SLOTS_MAX = 4096, RESULT_SLOTS_MAX = 65536 };

_Static_assert(sizeof(struct lens_shm_header) <= PAGE, "the header is the first page");
_Static_assert(sizeof(struct lens_submit_descriptor) == 128, "two cache lines");

static uint64_t load_acquire(const uint64_t *shared)
{
    return __atomic_load_n(shared, __ATOMIC_ACQUIRE);
}

static void store_release(uint64_t *shared, uint64_t value)
{
    __atomic_store_n(shared, value, __ATOMIC_RELEASE);
}

/* Sleeper flags change by exchanges alone, so that each one continues the order of the one before (ring.h). */
static uint32_t flag_set(uint32_t *shared, uint32_t value)
{
    return __atomic_exchange_n(shared, value, __ATOMIC_ACQ_REL);
}

static uint32_t flag_get(uint32_t *shared)
{
    return __atomic_fetch_add(shared, 0, __ATOMIC_ACQ_REL);
}

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

static struct lens_shm_header *header_of(unsigned char *base)
{
    return (struct lens_shm_header *)(void *)base;
}

/* ---- geometry --------------------------------------------------------------------------------------------------- */

static bool power_of_two_within(uint32_t value, uint32_t low, uint32_t high)
{
    return value >= low && value <= high && (value & (value - 1)) == 0;
}

static bool is_row_dtype(uint8_t dtype)
{
    return dtype == LENS_F32 || dtype == LENS_F16 || dtype == LENS_BF16;
}

/* Bytes before the token ids; 0 as lens_payload_bytes. */
static uint64_t row_bytes(uint32_t dim, uint32_t rows, uint8_t dtype)
{
    uint64_t bytes;
    if (!is_row_dtype(dtype))
        return 0;
    if (__builtin_mul_overflow((uint64_t)dim * rows, lens_dtype_bytes((enum lens_dtype)dtype), &bytes) ||
        bytes > UINT32_MAX)
        return 0;
    return round_up(bytes, LINE);
}

uint64_t lens_payload_bytes(uint32_t dim, uint32_t rows, uint8_t dtype, bool token_ids)
{
    uint64_t bytes = row_bytes(dim, rows, dtype);
    if (bytes != 0 && token_ids)
        bytes += round_up((uint64_t)rows * sizeof(int32_t), LINE);
    return bytes > UINT32_MAX ? 0 : bytes;
}

int lens_ring_layout_init(struct lens_ring_layout *layout, uint64_t limit)
{
    struct lens_ring_layout l = *layout;
    if (limit > INT64_MAX)
        limit = INT64_MAX; /* so that no sum below overflows */
    if (l.dim == 0 || l.max_rows == 0 || l.max_rows > LENS_MAX_ROWS || l.top_k == 0 || l.top_k > LENS_MAX_TOP_K ||
        !power_of_two_within(l.submit_slots, 2, SUBMIT_SLOTS_MAX) ||
        !power_of_two_within(l.result_slots, 2, RESULT_SLOTS_MAX) || l.result_slots < l.max_rows)
        return -EINVAL;
    uint64_t stride = round_up(sizeof(struct lens_result_header) + (uint64_t)l.expanded_capacity * sizeof(uint32_t) +
                                   (uint64_t)l.top_k * sizeof(struct lens_detection),
                               LINE);
    uint64_t largest = lens_payload_bytes(l.dim, l.max_rows, LENS_F32, true);
    if (stride > UINT32_MAX || largest == 0)
        return -EINVAL;
    if (l.payload_bytes == 0)
        l.payload_bytes = l.submit_slots * lens_payload_bytes(l.dim, 1, LENS_F32, true) + 2 * largest;
    if (l.payload_bytes % LINE != 0 || l.payload_bytes < 2 * largest || l.payload_bytes > limit)
        return -EINVAL;
    l.result_stride = (uint32_t)stride;
    l.submit_offset = PAGE;
    l.result_offset = l.submit_offset + round_up(l.submit_slots * sizeof(struct lens_submit_descriptor), PAGE);
    l.payload_offset = l.result_offset + round_up(l.result_slots * stride, PAGE);
    l.total_bytes = l.payload_offset + round_up(l.payload_bytes, PAGE);
    if (l.total_bytes > limit)
        return -EINVAL;
    *layout = l;
    return 0;
}

static struct lens_submit_descriptor *submit_slot(unsigned char *base, const struct lens_ring_layout *l, uint64_t index)
{
    uint64_t slot = index & (l->submit_slots - 1);
    return (struct lens_submit_descriptor *)(void *)(base + l->submit_offset +
                                                     slot * sizeof(struct lens_submit_descriptor));
}

static struct lens_result result_slot(unsigned char *base, const struct lens_ring_layout *l, uint64_t index)
{
    unsigned char *slot = base + l->result_offset + (index & (l->result_slots - 1)) * (uint64_t)l->result_stride;
    uint32_t *expanded = (uint32_t *)(void *)(slot + sizeof(struct lens_result_header));
    return (struct lens_result){
        .header = (struct lens_result_header *)(void *)slot,
        .expanded = expanded,
        .detections = (struct lens_detection *)(void *)(expanded + l->expanded_capacity),
    };
}

/* ---- daemon side ------------------------------------------------------------------------------------------------ */

void lens_ring_server_init(struct lens_ring_server *ring, const struct lens_ring_layout *layout, void *base)
{
    struct lens_shm_header *h = base;
    *ring = (struct lens_ring_server){.layout = *layout, .base = base};
    h->version = LENS_WIRE_VERSION;
    h->submit_slots = layout->submit_slots;
    h->result_slots = layout->result_slots;
    h->result_stride = layout->result_stride;
    h->expanded_capacity = layout->expanded_capacity;
    h->top_k = layout->top_k;
    h->dim = layout->dim;
    h->max_rows = layout->max_rows;
    h->submit_offset = layout->submit_offset;
    h->result_offset = layout->result_offset;
    h->payload_offset = layout->payload_offset;
    h->payload_bytes = layout->payload_bytes;
    h->total_bytes = layout->total_bytes;
    store_release(&h->magic, LENS_WIRE_MAGIC);
}

/* The one look at a descriptor: word by word, each exactly once. */
static void copy_descriptor(struct lens_submit_descriptor *out, const struct lens_submit_descriptor *shared)
{
    enum { WORDS = sizeof *out / sizeof(uint64_t) };
    uint64_t copy[WORDS] = {0};
    const uint64_t *words = (const uint64_t *)(const void *)shared;
    for (int i = 0; i < WORDS; i++)
        copy[i] = __atomic_load_n(&words[i], __ATOMIC_RELAXED);
    memcpy(out, copy, sizeof copy);
}

/* The payload lies whole inside the area, after all earlier ones. Nothing here overflows: payload_next grows by less
 * than two ring lengths for each descriptor. */
static bool payload_in_place(const struct lens_ring_server *ring, const struct lens_submit_descriptor *d)
{
    uint64_t size = ring->layout.payload_bytes;
    return d->payload_offset % LENS_PAYLOAD_ALIGN == 0 && d->payload_bytes % LENS_PAYLOAD_ALIGN == 0 &&
           d->payload_offset >= ring->payload_next && d->payload_offset - ring->payload_next <= size &&
           d->payload_bytes <= size && d->payload_offset % size <= size - d->payload_bytes;
}

static bool reserved_is_zero(const struct lens_submit_descriptor *d)
{
    unsigned any = d->reserved0;
    for (size_t i = 0; i < sizeof d->reserved; i++)
        any |= d->reserved[i];
    return any == 0;
}

static bool values_are_valid(const struct lens_ring_layout *l, const struct lens_submit_descriptor *d)
{
    if (d->rows == 0 || d->rows > l->max_rows || (d->flags & ~(uint32_t)LENS_SUBMIT_KNOWN_FLAGS) != 0 ||
        d->adapter != 0 || !reserved_is_zero(d))
        return false;
    uint64_t bytes = lens_payload_bytes(l->dim, d->rows, d->dtype, (d->flags & LENS_SUBMIT_TOKEN_IDS) != 0);
    return bytes != 0 && d->payload_bytes == bytes;
}

int lens_ring_server_take(struct lens_ring_server *ring, struct lens_submit_descriptor *out)
{
    const struct lens_ring_layout *l = &ring->layout;
    uint64_t waiting = load_acquire(&header_of(ring->base)->submit_head) - ring->submit_next;
    if (waiting == 0)
        return 0;
    if (waiting > l->submit_slots - (ring->submit_next - ring->submit_done))
        return -EPROTO; /* beyond the ring, or backwards */
    copy_descriptor(out, submit_slot(ring->base, l, ring->submit_next));
    ring->submit_next++;
    bool in_place = payload_in_place(ring, out);
    if (in_place)
        ring->payload_next = out->payload_offset + out->payload_bytes;
    if (in_place && values_are_valid(l, out))
        return 1;
    if (out->rows == 0)
        out->rows = 1;
    if (out->rows > l->max_rows)
        out->rows = l->max_rows;
    return -EBADMSG;
}

const void *lens_ring_server_rows(const struct lens_ring_server *ring, const struct lens_submit_descriptor *d)
{
    return ring->base + ring->layout.payload_offset + d->payload_offset % ring->layout.payload_bytes;
}

const void *lens_ring_server_token_ids(const struct lens_ring_server *ring, const struct lens_submit_descriptor *d)
{
    if ((d->flags & LENS_SUBMIT_TOKEN_IDS) == 0)
        return NULL;
    const unsigned char *rows = lens_ring_server_rows(ring, d);
    return rows + row_bytes(ring->layout.dim, d->rows, d->dtype);
}

void lens_ring_server_release(struct lens_ring_server *ring, uint64_t count)
{
    uint64_t taken = ring->submit_next - ring->submit_done;
    ring->submit_done += count < taken ? count : taken;
    store_release(&header_of(ring->base)->submit_tail, ring->submit_done);
}

bool lens_ring_server_reserve(struct lens_ring_server *ring, struct lens_result *out)
{
    struct lens_shm_header *h = header_of(ring->base);
    uint64_t unread = ring->result_next - load_acquire(&h->result_tail);
    if (unread >= ring->layout.result_slots) { /* full; or forged: ahead of us wraps round, behind is more than all */
        __atomic_fetch_add(&h->dropped_results, 1, __ATOMIC_RELAXED);
        return false;
    }
    *out = result_slot(ring->base, &ring->layout, ring->result_next);
    return true;
}

void lens_ring_server_publish(struct lens_ring_server *ring)
{
    store_release(&header_of(ring->base)->result_head, ++ring->result_next);
}

bool lens_ring_server_wake_due(struct lens_ring_server *ring, enum lens_client_sleep *how)
{
    struct lens_shm_header *h = header_of(ring->base);
    *how = LENS_CLIENT_AWAKE;
    if (flag_get(&h->client_sleeping) == LENS_CLIENT_AWAKE)
        return false;
    uint32_t flag = flag_set(&h->client_sleeping, LENS_CLIENT_AWAKE); /* it may have changed its mind meanwhile */
    if (flag != LENS_CLIENT_ON_FUTEX && flag != LENS_CLIENT_ON_SOCKET)
        return false;
    __atomic_fetch_add(&h->result_futex, 1, __ATOMIC_RELEASE);
    *how = (enum lens_client_sleep)flag;
    return true;
}

void lens_ring_server_set_sleeping(struct lens_ring_server *ring, bool sleeping)
{
    flag_set(&header_of(ring->base)->daemon_sleeping, sleeping);
}

bool lens_ring_server_pending(const struct lens_ring_server *ring)
{
    return load_acquire(&header_of(ring->base)->submit_head) != ring->submit_next;
}

uint32_t lens_ring_server_depth(const struct lens_ring_server *ring)
{
    const struct lens_shm_header *header = header_of(ring->base);
    uint64_t depth = load_acquire(&header->submit_head) - load_acquire(&header->submit_tail);
    return depth < ring->layout.submit_slots ? (uint32_t)depth : ring->layout.submit_slots;
}

/* ---- client side ------------------------------------------------------------------------------------------------ */

static bool header_matches(const struct lens_shm_header *h, const struct lens_ring_layout *l)
{
    return load_acquire(&h->magic) == LENS_WIRE_MAGIC && h->version == LENS_WIRE_VERSION &&
           h->submit_slots == l->submit_slots && h->result_slots == l->result_slots &&
           h->result_stride == l->result_stride && h->expanded_capacity == l->expanded_capacity &&
           h->top_k == l->top_k && h->dim == l->dim && h->max_rows == l->max_rows &&
           h->submit_offset == l->submit_offset && h->result_offset == l->result_offset &&
           h->payload_offset == l->payload_offset && h->payload_bytes == l->payload_bytes &&
           h->total_bytes == l->total_bytes;
}

int lens_ring_client_init(struct lens_ring_client *ring, const struct lens_ring_layout *layout, void *base,
                          uint64_t mapped, uint64_t *slot_payload_end)
{
    struct lens_ring_layout l = *layout;
    if (mapped < PAGE || l.payload_bytes == 0 || lens_ring_layout_init(&l, mapped) != 0 ||
        l.result_stride != layout->result_stride || l.submit_offset != layout->submit_offset ||
        l.result_offset != layout->result_offset || l.payload_offset != layout->payload_offset ||
        l.total_bytes != layout->total_bytes || !header_matches(base, &l))
        return -EPROTO;
    memset(slot_payload_end, 0, l.submit_slots * sizeof *slot_payload_end);
    *ring = (struct lens_ring_client){.layout = l, .base = base, .slot_payload_end = slot_payload_end};
    return 0;
}

/* Takes back what the daemon gave back since. */
static int collect_released(struct lens_ring_client *ring)
{
    uint64_t tail = load_acquire(&header_of(ring->base)->submit_tail);
    if (tail - ring->released > ring->submit_head - ring->released)
        return -EPROTO; /* backwards, or more than was submitted */
    if (tail != ring->released) {
        ring->payload_tail = ring->slot_payload_end[(tail - 1) & (ring->layout.submit_slots - 1)];
        ring->released = tail;
    }
    return 0;
}

/* Where `bytes` in one piece go. */
static uint64_t contiguous_from(uint64_t position, uint64_t bytes, uint64_t ring_bytes)
{
    return position % ring_bytes + bytes > ring_bytes ? round_up(position, ring_bytes) : position;
}

static int32_t *token_ids_of(unsigned char *rows, const struct lens_ring_layout *l, uint32_t n, uint8_t dtype)
{
    return (int32_t *)(void *)(rows + row_bytes(l->dim, n, dtype));
}

int lens_ring_client_acquire(struct lens_ring_client *ring, uint32_t rows, uint8_t dtype, bool token_ids,
                             struct lens_submit_descriptor *descriptor, void **rows_out, int32_t **tokens_out)
{
    const struct lens_ring_layout *l = &ring->layout;
    if (rows == 0 || rows > l->max_rows || !is_row_dtype(dtype))
        return -EINVAL;
    uint64_t bytes = lens_payload_bytes(l->dim, rows, dtype, token_ids);
    uint64_t start = contiguous_from(ring->payload_head, bytes, l->payload_bytes);
    int r = collect_released(ring);
    if (r != 0)
        return r;
    if (ring->submit_head - ring->released >= l->submit_slots || ring->results_owed + rows > l->result_slots ||
        start + bytes - ring->payload_tail > l->payload_bytes)
        return -EAGAIN;
    *descriptor = (struct lens_submit_descriptor){
        .payload_offset = start,
        .payload_bytes = (uint32_t)bytes,
        .rows = rows,
        .serial = (uint32_t)ring->submit_head,
        .flags = token_ids ? LENS_SUBMIT_TOKEN_IDS : 0,
        .dtype = dtype,
    };
    unsigned char *place = ring->base + l->payload_offset + start % l->payload_bytes;
    *rows_out = place;
    if (tokens_out != NULL)
        *tokens_out = token_ids ? token_ids_of(place, l, rows, dtype) : NULL;
    return 0;
}

bool lens_ring_client_submit(struct lens_ring_client *ring, const struct lens_submit_descriptor *descriptor)
{
    struct lens_shm_header *h = header_of(ring->base);
    memcpy(submit_slot(ring->base, &ring->layout, ring->submit_head), descriptor, sizeof *descriptor);
    ring->payload_head = descriptor->payload_offset + descriptor->payload_bytes;
    ring->slot_payload_end[ring->submit_head & (ring->layout.submit_slots - 1)] = ring->payload_head;
    ring->results_owed += descriptor->rows;
    store_release(&h->submit_head, ++ring->submit_head);
    return flag_get(&h->daemon_sleeping) != 0;
}

static uint32_t clamp_count(uint32_t *shared, uint32_t most)
{
    uint32_t count = __atomic_load_n(shared, __ATOMIC_RELAXED);
    if (count <= most)
        return count;
    __atomic_store_n(shared, most, __ATOMIC_RELAXED);
    return most;
}

static bool result_waits(const struct lens_ring_client *ring)
{
    uint64_t unread = load_acquire(&header_of(ring->base)->result_head) - ring->result_tail;
    return unread != 0 && unread <= ring->layout.result_slots;
}

bool lens_ring_client_peek(struct lens_ring_client *ring, struct lens_result *out)
{
    if (!result_waits(ring))
        return false;
    *out = result_slot(ring->base, &ring->layout, ring->result_tail);
    out->n_expanded = clamp_count(&out->header->expanded_stored, ring->layout.expanded_capacity);
    out->n_detections = clamp_count(&out->header->detections, ring->layout.top_k);
    return true;
}

void lens_ring_client_release(struct lens_ring_client *ring)
{
    if (!result_waits(ring))
        return;
    if (ring->results_owed > 0)
        ring->results_owed--;
    store_release(&header_of(ring->base)->result_tail, ++ring->result_tail);
}

uint32_t *lens_ring_client_set_sleeping(struct lens_ring_client *ring, enum lens_client_sleep how, uint32_t *value)
{
    struct lens_shm_header *h = header_of(ring->base);
    if (value != NULL)
        *value = __atomic_load_n(&h->result_futex, __ATOMIC_ACQUIRE);
    flag_set(&h->client_sleeping, (uint32_t)how);
    return &h->result_futex;
}

uint64_t lens_ring_client_dropped(const struct lens_ring_client *ring)
{
    return __atomic_load_n(&header_of(ring->base)->dropped_results, __ATOMIC_RELAXED);
}
