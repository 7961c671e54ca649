/* See session.h. Making and unmaking sessions; serving them is the engine's. */
#include "daemon/session.h"

#include "daemon/pins.h"
#include "daemon/sealed_memory.h"
#include "daemon/sys.h"
#include "proto/codec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define KEY_MAX  264u /* a name of at most 255 bytes, ":255" and the terminator */
#define PINS_MAX (LENS_MAX_PINNED + LENSD_CONTENT_PATTERNS)

/* Of the base layers, the lenses that may be scored. */
static uint32_t count_base(const struct lens_pack *pack, uint64_t layers, const uint64_t *allowed, uint32_t *ids)
{
    uint32_t n = 0;
    for (uint32_t lens = 0; lens < pack->lenses; lens++) {
        if (pack->layer[lens] >= 64 || (layers >> pack->layer[lens] & 1) == 0 || !lensd_content_has(allowed, lens))
            continue;
        if (ids != NULL)
            ids[n] = lens;
        n++;
    }
    return n;
}

static uint32_t retained_by(const struct lens_cascade_options *options, const struct lens_pack *pack)
{
    uint32_t keep = (uint32_t)options->keep_top_k;
    return options->keep_top_k < 0 || keep > pack->lenses ? pack->lenses : keep;
}

/* Everything but the pins, for which there is room. `note`: as lensd_content_resolve. */
static int bind_to(const struct lens_cascade_options *options, const struct lensd_content *content,
                   uint32_t max_sequences, struct lensd_served_pack *served, char *note, struct lensd_binding *out,
                   struct lens_error *err)
{
    const struct lens_pack *pack = served->pack;
    struct lensd_content_maps maps;
    *out = (struct lensd_binding){.served = served};
    int r = lensd_content_resolve(content, pack, &maps, note, err);
    if (r != 0)
        return r;
    out->allowed = maps.allowed;
    out->reported = maps.reported;
    out->n_base = count_base(pack, options->base_layers, out->allowed, NULL);
    out->retained_capacity = retained_by(options, pack);
    out->base = lensd_calloc(out->n_base + 1, sizeof *out->base);
    out->pinned = lensd_calloc(PINS_MAX, sizeof *out->pinned);
    out->storage = lensd_calloc(lensd_sequences_storage(max_sequences, out->retained_capacity), sizeof *out->storage);
    if (out->base == NULL || out->pinned == NULL || out->storage == NULL) {
        lensd_binding_destroy(out);
        return lens_error_set(err, -ENOMEM, "no memory for a session of %u sequences on %s", max_sequences,
                              served->name);
    }
    count_base(pack, options->base_layers, out->allowed, out->base);
    return 0;
}

static bool is_among(const uint32_t *ids, uint32_t n, uint32_t id)
{
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* The rules in terms of the binding's pack. Room for its own pins is there; those that rules want come behind. */
static int bind_rules(const struct lensd_rules *rules, struct lensd_binding *binding, struct lens_error *err)
{
    uint32_t silent, n;
    if (rules == NULL)
        return 0;
    if (lensd_rule_map_create(rules, binding->served->pack, &binding->rule_map, &silent) != 0)
        return lens_error_set(err, -ENOMEM, "no memory for rules on content");
    const uint32_t *pins = lensd_rule_map_pins(binding->rule_map, &n);
    uint32_t *pinned = lensd_calloc(PINS_MAX + n, sizeof *pinned);
    if (pinned == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the pins of rules on content");
    memcpy(pinned, binding->pinned, binding->n_pinned * sizeof *pinned);
    lensd_free(binding->pinned);
    binding->pinned = pinned;
    for (uint32_t i = 0, own = binding->n_pinned; i < n; i++)
        if (lensd_content_has(binding->allowed, pins[i]) && !is_among(pinned, own, pins[i])) {
            pinned[binding->n_pinned++] = pins[i];
            binding->n_rule_pins++;
        }
    return 0;
}

/* The session's pins in another pack: ids mean something else there, the keys are the same. Exclusion wins there, too.
 */
static void carry_pins(const struct lensd_binding *from, struct lensd_binding *to)
{
    char key[KEY_MAX];
    uint32_t lens;
    for (uint32_t i = 0; i < from->n_own; i++) {
        lens_pack_key(from->served->pack, from->pinned[i], key, sizeof key);
        if (lens_pack_find(to->served->pack, key, &lens) == 0 && lensd_content_has(to->allowed, lens))
            to->pinned[to->n_pinned++] = lens;
    }
}

int lensd_binding_pin_list(const struct lensd_binding *binding, const struct lensd_pins *pins,
                           struct lensd_pin_list *out)
{
    out->n = binding->n_own + binding->n_rule_pins;
    out->lenses = lensd_calloc(out->n + lensd_pins_count(pins) + 1, sizeof *out->lenses);
    if (out->lenses == NULL)
        return -ENOMEM;
    memcpy(out->lenses, binding->pinned, out->n * sizeof *out->lenses);
    for (uint32_t i = 0; i < lensd_pins_count(pins); i++)
        if (lensd_content_has(binding->allowed, pins->lenses[i]))
            out->lenses[out->n++] = pins->lenses[i];
    return 0;
}

/* The binding has its own pins: what rules want and what is pinned at run time join them. */
static int join_pins(const struct lensd_rules *rules, struct lensd_binding *binding, struct lens_error *err)
{
    struct lensd_pin_list list;
    binding->n_own = binding->n_pinned;
    int r = bind_rules(rules, binding, err);
    if (r != 0 || binding->served->pins == NULL)
        return r;
    if (lensd_binding_pin_list(binding, binding->served->pins, &list) != 0)
        return lens_error_set(err, -ENOMEM, "no memory for what is pinned on %s", binding->served->name);
    lensd_free(binding->pinned);
    binding->pinned = list.lenses;
    binding->n_pinned = list.n;
    return 0;
}

static void note_lost_pins(struct lensd_binding *binding, uint32_t lost)
{
    size_t used = strlen(binding->note);
    if (lost > 0)
        snprintf(binding->note + used, sizeof binding->note - used,
                 "%s%u of its pins aren't in this pack, or not allowed there", used > 0 ? "; " : "", lost);
}

int lensd_binding_create(const struct lensd_session *session, struct lensd_served_pack *served,
                         struct lensd_binding *out, struct lens_error *err)
{
    if (served->pack->dim != session->ring.layout.dim)
        return lens_error_set(err, -EINVAL, "session %u sends rows of %u elements; pack %s needs %u", session->id,
                              session->ring.layout.dim, served->name, served->pack->dim);
    char note[LENSD_CONTENT_NOTE];
    int r = bind_to(&session->options, session->content, session->sequences.capacity, served, note, out, err);
    if (r != 0)
        return r;
    memcpy(out->note, note, sizeof note);
    out->rows_locked = session->locked.backend != NULL && session->locked.backend == lensd_pool_backend(served->pool);
    carry_pins(&session->binding, out);
    note_lost_pins(out, session->binding.n_own - out->n_pinned);
    r = join_pins(session->rules, out, err);
    if (r != 0)
        lensd_binding_destroy(out);
    return r;
}

void lensd_binding_destroy(struct lensd_binding *binding)
{
    lensd_free(binding->base);
    lensd_free(binding->pinned);
    lensd_free(binding->storage);
    lensd_free(binding->allowed);
    lensd_free(binding->reported);
    lensd_rule_map_destroy(binding->rule_map);
    memset(binding, 0, sizeof *binding);
}

static int make_memory(struct lensd_session *session, const struct lens_ring_layout *layout, struct lens_error *err)
{
    void *base;
    int r =
        lensd_sealed_memory("lensd-session", "a session's memory", layout->total_bytes, &session->memfd, &base, err);
    if (r == 0)
        lens_ring_server_init(&session->ring, layout, base);
    return r;
}

/* The packet that tells a polling client of results, so that the engine has nothing to encode. */
static int make_notice(struct lensd_session *session, struct lens_error *err)
{
    struct lens_msg *msg = lensd_calloc(1, sizeof *msg);
    int n = -ENOMEM;
    if (msg != NULL) {
        msg->type = LENS_MSG_RESULTS_READY;
        msg->u.results_ready.session = session->id;
        n = lens_msg_encode(msg, session->notice, sizeof session->notice);
    }
    lensd_free(msg);
    if (n < 0)
        return lens_error_set(err, n, "encoding the results notice");
    session->notice_bytes = (uint32_t)n;
    return 0;
}

static int make_queues(struct lensd_session *session, const struct lensd_session_request *request,
                       struct lensd_served_pack *served, struct lens_error *err)
{
    uint32_t slots = session->ring.layout.submit_slots;
    session->pending = lensd_calloc(slots, sizeof *session->pending);
    session->pending_state = lensd_calloc(slots, 1);
    session->statistics = lensd_calloc(1, sizeof *session->statistics);
    if (session->pending == NULL || session->pending_state == NULL || session->statistics == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a session's queues");
    struct lensd_binding *binding = &session->binding;
    int r = bind_to(&request->options, session->content, request->max_sequences, served, NULL, binding, err);
    if (r != 0)
        return r;
    const struct lensd_content_maps maps = {binding->allowed, binding->reported};
    r = lensd_content_pins(request->pinned, request->n_pinned, request->configured_pins, served->pack, &maps,
                           binding->pinned, &binding->n_pinned, err);
    if (r != 0)
        return r;
    r = lensd_sequences_init(&session->sequences, request->max_sequences, session->binding.storage,
                             session->binding.retained_capacity);
    if (r != 0)
        return lens_error_set(err, r, "no memory for %u sequences", request->max_sequences);
    session->binding.storage = NULL; /* the sequences own it now */
    return join_pins(session->rules, binding, err);
}

/* What the rules on content need of the session. */
static int take_rules(struct lensd_session *session, const struct lensd_session_request *request,
                      struct lens_error *err)
{
    if (request->rules == NULL)
        return 0;
    session->rules = lensd_rules_take(request->rules);
    session->rule_state_bytes = lensd_rules_state_bytes(session->rules);
    session->rule_states = lensd_calloc(request->max_sequences, session->rule_state_bytes);
    return session->rule_states != NULL ? 0 : lens_error_set(err, -ENOMEM, "no memory for the states of rules");
}

static int check_request(const struct lensd_session_request *request, struct lens_error *err)
{
    if (request->n_pinned > LENS_MAX_PINNED)
        return lens_error_set(err, -EINVAL, "%u lenses may be pinned at most, found %u", LENS_MAX_PINNED,
                              request->n_pinned);
    if (request->max_sequences < 1 || request->max_sequences > LENSD_SEQUENCES_MAX)
        return lens_error_set(err, -EINVAL, "max_sequences must be between 1 and %u, found %u", LENSD_SEQUENCES_MAX,
                              request->max_sequences);
    if (request->layout.expanded_capacity > LENSD_EXPANDED_MAX)
        return lens_error_set(err, -EINVAL, "max_expanded may be %u at most, found %u", LENSD_EXPANDED_MAX,
                              request->layout.expanded_capacity);
    return lens_options_check(&request->options, err);
}

/* The retained sets and the bitmaps live in the daemon's heap: they count against the limits too. */
static int check_heap(const struct lensd_session_request *request, uint32_t keep, uint64_t bytes, uint64_t shared_bytes,
                      struct lens_error *err)
{
    if (bytes <= request->memory_limit && shared_bytes <= request->memory_limit - bytes)
        return 0;
    return lens_error_set(err, -ENOSPC,
                          "%u sequences that retain %u lenses each need %llu bytes beside %llu shared ones; a session "
                          "may have %llu: ask for fewer sequences, a smaller keep_top_k, or raise ipc.session_memory",
                          request->max_sequences, keep, (unsigned long long)bytes, (unsigned long long)shared_bytes,
                          (unsigned long long)request->memory_limit);
}

/* What the session's memory will be; -ENOSPC, -EINVAL when it may not. *heap_bytes: beside the shared memory. */
static int plan_memory(const struct lensd_session_request *request, const struct lensd_content *content,
                       const struct lens_pack *pack, struct lens_ring_layout *layout, uint64_t *heap_bytes,
                       struct lens_error *err)
{
    *layout = request->layout;
    layout->dim = pack->dim;
    layout->top_k = request->options.top_k;
    int r = lens_ring_layout_init(layout, request->memory_limit);
    if (r != 0)
        return lens_error_set(err, r,
                              "a session with %u rows a submission, %u submissions, %u results, %u expanded ids and "
                              "rows of %u elements isn't possible within %llu bytes: ask for less or raise "
                              "ipc.session_memory",
                              layout->max_rows, layout->submit_slots, layout->result_slots, layout->expanded_capacity,
                              layout->dim, (unsigned long long)request->memory_limit);
    uint32_t keep = retained_by(&request->options, pack);
    *heap_bytes = lensd_sequences_storage(request->max_sequences, keep) * sizeof(uint32_t) +
                  lensd_content_map_bytes(content, pack) +
                  (request->rules != NULL ? request->max_sequences * lensd_rules_state_bytes(request->rules) : 0);
    return check_heap(request, keep, *heap_bytes, layout->total_bytes, err);
}

/* NULL: no memory. */
static struct lensd_session *new_session(const struct lensd_session_request *request)
{
    struct lensd_session *session = lensd_calloc(1, sizeof *session);
    if (session == NULL)
        return NULL;
    session->id = request->id;
    session->uid = request->uid;
    session->pid = request->pid;
    session->memfd = session->doorbell = session->notify_fd = -1;
    session->options = request->options;
    session->events = request->events;
    session->created_ns = lensd_now_ns();
    snprintf(session->label, sizeof session->label, "%s", request->label != NULL ? request->label : "");
    return session;
}

static int fill_session(struct lensd_session *session, const struct lensd_session_request *request,
                        struct lensd_served_pack *served, struct lens_error *err)
{
    struct lens_ring_layout layout;
    uint64_t heap_bytes = 0;
    int r = lensd_content_create(&request->content, &session->content, err);
    if (r != 0)
        return r;
    r = plan_memory(request, session->content, served->pack, &layout, &heap_bytes, err);
    if (r != 0)
        return r;
    r = make_memory(session, &layout, err);
    session->memory_bytes = layout.total_bytes + heap_bytes;
    if (r == 0)
        r = take_rules(session, request, err);
    if (r == 0)
        r = make_queues(session, request, served, err);
    if (r == 0)
        r = make_notice(session, err);
    if (r != 0)
        return r;
    session->doorbell = lensd_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (session->doorbell < 0)
        return lens_error_set(err, session->doorbell, "creating a doorbell: %s", strerror(-session->doorbell));
    return 0;
}

int lensd_session_create(const struct lensd_session_request *request, struct lensd_served_pack *served,
                         struct lensd_session **out, struct lens_error *err)
{
    *out = NULL;
    int r = check_request(request, err);
    if (r != 0)
        return r;
    struct lensd_session *session = new_session(request);
    if (session == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a session");
    r = fill_session(session, request, served, err);
    if (r != 0) {
        lensd_session_destroy(session);
        return r;
    }
    *out = session;
    return 0;
}

int lensd_session_lock_rows(struct lensd_session *session, struct lens_error *err)
{
    const struct lens_ring_layout *layout = &session->ring.layout;
    struct lensd_binding *binding = &session->binding;
    int r = lensd_locked_rows_begin(&session->locked, lensd_pool_backend(binding->served->pool),
                                    session->ring.base + layout->payload_offset,
                                    layout->total_bytes - layout->payload_offset, err);
    binding->rows_locked = session->locked.backend != NULL;
    return r;
}

void lensd_session_unlock_rows(struct lensd_session *session)
{
    lensd_locked_rows_end(&session->locked);
}

const void *lensd_session_device_rows(const struct lensd_session *session, const struct lens_submit_descriptor *d)
{
    if (!session->binding.rows_locked)
        return NULL;
    return lensd_locked_rows_view(&session->locked, lens_ring_server_rows(&session->ring, d));
}

void lensd_session_discard_memory(const struct lensd_session *session)
{
    lensd_sealed_memory_discard(session->memfd, session->ring.layout.total_bytes);
}

void lensd_session_destroy(struct lensd_session *session)
{
    if (session == NULL)
        return;
    lensd_session_unlock_rows(session);
    if (session->ring.base != NULL)
        munmap(session->ring.base, session->ring.layout.total_bytes);
    if (session->memfd >= 0)
        close(session->memfd);
    if (session->doorbell >= 0)
        close(session->doorbell);
    lensd_sequences_free(&session->sequences);
    lensd_content_free(session->content);
    lensd_binding_destroy(&session->binding);
    lensd_free(session->pending);
    lensd_free(session->pending_state);
    lensd_free(session->statistics);
    lensd_free(session->rule_states);
    lensd_rules_drop(session->rules);
    lensd_free(session);
}
