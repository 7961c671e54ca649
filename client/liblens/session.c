/* A session's life: attach with the caller's parameters, map what the daemon gave, attach again after a loss, detach.
 *
 * The parameters are kept privately in the attach message itself and replayed word for word. After a loss the old
 * memory stays mapped, so that pointers the caller still has stay readable; the next attachment replaces it. */
#include "client/liblens/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { QUEUE_DEFAULT = 64, QUEUE_MAX = 4096, RESULTS_MAX = 65536, BASE_LAYERS = 64 };

/* ---- parameters ------------------------------------------------------------------------------------------------- */

void lens_session_params_default(struct lens_session_params *params)
{
    *params = (struct lens_session_params){
        .top_k = -1,
        .keep_top_k = -2,
        .max_depth = -1,
        .max_scored = -1,
        .load_threshold = -1.0f,
        .unload_threshold = -1.0f,
        .suppress_at = -1.0f,
        .expand = -1,
        .report = -1,
        .rank = -1,
        .uncalibrated = -1,
        .suppress_parents = -1,
        .miss = -1,
    };
}

static uint32_t power_of_two_from(uint64_t value, uint32_t least, uint32_t most)
{
    uint32_t power = least;
    while (power < value && power < most)
        power *= 2;
    return power;
}

static void choose_enums(struct lens_attach *attach, const struct lens_session_params *p)
{
    struct lens_cascade_options *o = &attach->options;
    o->expand = (enum lens_expand)p->expand;
    o->report = (enum lens_report)p->report;
    o->rank = (enum lens_rank)p->rank;
    o->uncalibrated = (enum lens_uncalibrated)p->uncalibrated;
    o->miss = (enum lens_miss)p->miss;
    o->suppress_parents = p->suppress_parents > 0;
    attach->options_set |= p->expand >= 0 ? LENS_OPT_EXPAND : 0u;
    attach->options_set |= p->report >= 0 ? LENS_OPT_REPORT : 0u;
    attach->options_set |= p->rank >= 0 ? LENS_OPT_RANK : 0u;
    attach->options_set |= p->uncalibrated >= 0 ? LENS_OPT_UNCALIBRATED : 0u;
    attach->options_set |= p->miss >= 0 ? LENS_OPT_MISS : 0u;
    attach->options_set |= p->suppress_parents >= 0 ? LENS_OPT_SUPPRESS_PARENTS : 0u;
}

static void choose_numbers(struct lens_attach *attach, const struct lens_session_params *p)
{
    struct lens_cascade_options *o = &attach->options;
    o->load_threshold = p->load_threshold;
    o->unload_threshold = p->unload_threshold;
    o->suppress_at = p->suppress_at;
    o->top_k = (uint32_t)p->top_k;
    o->keep_top_k = p->keep_top_k;
    o->max_depth = (uint32_t)p->max_depth;
    o->max_scored = (uint32_t)p->max_scored;
    attach->options_set |= p->load_threshold < 0.0f ? 0u : LENS_OPT_LOAD_THRESHOLD; /* NaN is refused, not a default */
    attach->options_set |= p->unload_threshold < 0.0f ? 0u : LENS_OPT_UNLOAD_THRESHOLD;
    attach->options_set |= p->suppress_at < 0.0f ? 0u : LENS_OPT_SUPPRESS_AT;
    attach->options_set |= p->top_k >= 0 ? LENS_OPT_TOP_K : 0u;
    attach->options_set |= p->keep_top_k >= -1 ? LENS_OPT_KEEP_TOP_K : 0u;
    attach->options_set |= p->max_depth >= 0 ? LENS_OPT_MAX_DEPTH : 0u;
    attach->options_set |= p->max_scored >= 0 ? LENS_OPT_MAX_SCORED : 0u;
}

static int choose_lists(struct lens_attach *attach, const struct lens_session_params *p, struct lens_client_error *err)
{
    if (p->base_layers != NULL) {
        attach->options_set |= LENS_OPT_BASE;
        for (uint32_t i = 0; i < p->n_base_layers; i++) {
            if (p->base_layers[i] >= BASE_LAYERS)
                return lens_fail(err, -EINVAL, "base layers must be below %d, found %u", BASE_LAYERS,
                                 p->base_layers[i]);
            attach->options.base_layers |= UINT64_C(1) << p->base_layers[i];
        }
    }
    if (p->n_pinned > LENS_MAX_PINNED)
        return lens_fail(err, -EINVAL, "at most %u lenses may be pinned, found %u", LENS_MAX_PINNED, p->n_pinned);
    if (p->n_pinned > 0)
        memcpy(attach->pinned, p->pinned, p->n_pinned * sizeof *p->pinned);
    attach->n_pinned = p->n_pinned;
    return 0;
}

struct pattern_list {
    const char *name;
    const char *const *given;
    uint32_t n;
    struct lens_text *out;
};

static int check_patterns(const struct pattern_list *list, size_t *bytes, struct lens_client_error *err)
{
    if (list->n > LENS_MAX_PATTERNS)
        return lens_fail(err, -EINVAL, "%s may have %u patterns, found %u", list->name, LENS_MAX_PATTERNS, list->n);
    if (list->n > 0 && list->given == NULL)
        return lens_fail(err, -EINVAL, "%s has %u patterns, found NULL", list->name, list->n);
    for (uint32_t i = 0; i < list->n; i++) {
        size_t length = list->given[i] != NULL ? strlen(list->given[i]) : 0;
        if (length == 0 || length > LENS_PATTERN_MAX)
            return lens_fail(err, -EINVAL, "a pattern of %s must have 1 to %u bytes, found %zu", list->name,
                             LENS_PATTERN_MAX, length);
        *bytes += length;
    }
    return 0;
}

/* Our own copies of the patterns: the attach message is replayed after a loss. */
static int choose_patterns(struct lens_session *session, const struct lens_session_params *p,
                           struct lens_client_error *err)
{
    struct lens_attach *attach = &session->attach;
    const struct pattern_list lists[] = {{"include", p->include, p->n_include, attach->include},
                                         {"exclude", p->exclude, p->n_exclude, attach->exclude},
                                         {"filter", p->filter, p->n_filter, attach->filter}};
    size_t bytes = 0, at = 0;
    int r = 0;
    for (unsigned list = 0; list < 3 && r == 0; list++)
        r = check_patterns(&lists[list], &bytes, err);
    if (r != 0 || bytes == 0)
        return r;
    session->patterns = calloc(1, bytes);
    if (session->patterns == NULL)
        return lens_fail(err, -ENOMEM, "no memory for a session");
    for (unsigned list = 0; list < 3; list++) {
        for (uint32_t i = 0; i < lists[list].n; i++) {
            size_t length = strlen(lists[list].given[i]);
            memcpy(session->patterns + at, lists[list].given[i], length);
            lists[list].out[i] = (struct lens_text){session->patterns + at, (uint32_t)length};
            at += length;
        }
    }
    attach->n_include = p->n_include;
    attach->n_exclude = p->n_exclude;
    attach->n_filter = p->n_filter;
    return 0;
}

static int choose_sizes(struct lens_attach *attach, const struct lens_session_params *p, struct lens_client_error *err)
{
    uint32_t rows = p->max_rows == 0 ? 1 : p->max_rows;
    uint32_t depth = p->queue_depth == 0 ? QUEUE_DEFAULT : p->queue_depth;
    if (rows > LENS_MAX_ROWS)
        return lens_fail(err, -EINVAL, "max_rows must be at most %u, found %u", LENS_MAX_ROWS, rows);
    if (depth > QUEUE_MAX)
        return lens_fail(err, -EINVAL, "queue_depth must be at most %d, found %u", QUEUE_MAX, depth);
    if (p->result_slots > RESULTS_MAX || (p->result_slots != 0 && p->result_slots < rows))
        return lens_fail(err, -EINVAL, "result_slots must be between max_rows and %d, found %u", RESULTS_MAX,
                         p->result_slots);
    attach->max_rows = rows;
    attach->submit_slots = power_of_two_from(depth, 2, QUEUE_MAX);
    attach->result_slots =
        power_of_two_from(p->result_slots == 0 ? (uint64_t)depth * rows : p->result_slots, 2, RESULTS_MAX);
    attach->expanded_capacity = p->max_expanded;
    attach->max_sequences = p->max_sequences;
    return 0;
}

static int keep_params(struct lens_session *session, const struct lens_session_params *p, struct lens_client_error *err)
{
    struct lens_attach *attach = &session->attach;
    struct lens_cascade_options merged;
    struct lens_error why;
    if (p->pack != NULL && strlen(p->pack) >= sizeof session->wanted_pack)
        return lens_fail(err, -EINVAL, "a pack's name may have %zu bytes", sizeof session->wanted_pack - 1);
    lens_text_copy(session->wanted_pack, sizeof session->wanted_pack, lens_text_of(p->pack));
    lens_text_copy(session->label, sizeof session->label,
                   lens_text_of(p->label != NULL ? p->label : program_invocation_short_name));
    attach->pack = lens_text_of(session->wanted_pack);
    attach->label = lens_text_of(session->label);
    choose_enums(attach, p);
    choose_numbers(attach, p);
    session->spin_ns = (uint64_t)p->spin_us * 1000;
    int r = choose_lists(attach, p, err);
    if (r == 0)
        r = choose_patterns(session, p, err);
    if (r == 0)
        r = choose_sizes(attach, p, err);
    if (r != 0)
        return r;
    lens_options_default(&merged);
    lens_options_overlay(&merged, &attach->options, attach->options_set);
    r = lens_options_check(&merged, &why);
    return r == 0 ? 0 : lens_fail(err, r, "%s", why.text);
}

/* ---- attaching -------------------------------------------------------------------------------------------------- */

static int check_memory(int fd, const struct lens_ring_layout *layout, struct lens_client_error *err)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
        return lens_fail(err, -EPROTO, "the session's memory is not sealed against shrinking");
    if (fstat(fd, &st) != 0 || st.st_size < 0 || (uint64_t)st.st_size < layout->total_bytes)
        return lens_fail(err, -EPROTO, "the session's memory is smaller than lensd says");
    return 0;
}

/* Over the old mapping when the size is the same: pointers into it stay valid addresses. */
static int map_memory(struct lens_session *session, int fd, size_t bytes, struct lens_client_error *err)
{
    bool over = session->memory != NULL && session->memory_bytes == bytes;
    int flags = MAP_SHARED | MAP_POPULATE | (over ? MAP_FIXED : 0);
    void *memory = mmap(over ? session->memory : NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (memory == MAP_FAILED)
        return lens_fail(err, -errno, "cannot map the session's memory (%zu bytes): %s", bytes, strerror(errno));
    if (session->memory != NULL && !over)
        munmap(session->memory, session->memory_bytes);
    session->memory = memory;
    session->memory_bytes = bytes;
    return 0;
}

/* Allocates at the first attachment alone; later ones have the same number of slots, since we ask for it. */
static int have_payload_ends(struct lens_session *session, uint32_t slots, struct lens_client_error *err)
{
    if (slots == 0 || slots != session->attach.submit_slots)
        return lens_fail(err, -EPROTO, "lensd gave %u submit slots where %u were asked for", slots,
                         session->attach.submit_slots);
    if (session->payload_ends == NULL)
        session->payload_ends = calloc(slots, sizeof *session->payload_ends);
    return session->payload_ends != NULL ? 0 : lens_fail(err, -ENOMEM, "no memory for a session");
}

static void keep_info(struct lens_session *session, const struct lens_attached *a)
{
    session->id = a->session;
    session->lenses = a->lenses;
    session->generation = a->generation;
    lens_text_copy(session->pack, sizeof session->pack, a->pack);
    lens_text_copy(session->model_id, sizeof session->model_id, a->model_id);
    lens_text_copy(session->tap_layer, sizeof session->tap_layer, a->tap_layer);
    lens_text_copy(session->tap_point, sizeof session->tap_point, a->tap_point);
    lens_concepts_clear(&session->concepts);
}

static int take_attachment(struct lens_session *session, const struct lens_attached *a, const int fds[LENS_ANSWER_FDS],
                           struct lens_client_error *err)
{
    if (fds[0] < 0 || fds[1] < 0)
        return lens_fail(err, -EPROTO, "lensd attached a session without memory and doorbell");
    int r = check_memory(fds[0], &a->layout, err);
    if (r == 0)
        r = have_payload_ends(session, a->layout.submit_slots, err);
    if (r == 0)
        r = map_memory(session, fds[0], (size_t)a->layout.total_bytes, err);
    if (r != 0)
        return r;
    r = lens_ring_client_init(&session->ring, &a->layout, session->memory, session->memory_bytes,
                              session->payload_ends);
    if (r != 0)
        return lens_fail(err, r, "the session's memory doesn't hold what lensd says");
    keep_info(session, a);
    session->doorbell = fds[1];
    session->answered = 0;
    session->armed = false;
    session->epoch++;
    session->state = LENS_SESSION_ATTACHED;
    return 0;
}

static void say_detach(struct lens_client *client, uint32_t id)
{
    struct lens_msg *m = &client->scratch;
    if (client->fd < 0)
        return;
    m->type = LENS_MSG_DETACH;
    m->u.detach.session = id;
    lens_client_call(client, m, m, NULL, lens_now_ns() + LENS_ANSWER_TIMEOUT_NS, NULL);
}

static int attach(struct lens_session *session, uint64_t deadline_ns, struct lens_client_error *err)
{
    int fds[LENS_ANSWER_FDS] = {-1, -1};
    struct lens_client *client = session->client;
    struct lens_msg *m = &client->scratch;
    int r = lens_client_ensure(client, deadline_ns, err);
    if (r != 0)
        return r;
    m->type = LENS_MSG_ATTACH;
    m->u.attach = session->attach;
    r = lens_client_call(client, m, m, fds, deadline_ns, err);
    if (r == 0 && m->type != LENS_MSG_ATTACHED)
        r = lens_fail(err, -EPROTO, "lensd answered %s to attach", lens_msg_name(m->type));
    if (r != 0) {
        lens_close_fds(fds);
        return r;
    }
    uint32_t id = m->u.attached.session;
    r = take_attachment(session, &m->u.attached, fds, err);
    if (r == 0)
        fds[1] = -1; /* the session's now */
    else
        say_detach(client, id);
    lens_close_fds(fds);
    return r;
}

/* ---- loss and return -------------------------------------------------------------------------------------------- */

static void close_doorbell(struct lens_session *session)
{
    if (session->doorbell >= 0)
        close(session->doorbell);
    session->doorbell = -1;
}

void lens_session_mark_lost(struct lens_session *session)
{
    if (session->state != LENS_SESSION_ATTACHED)
        return;
    session->state = LENS_SESSION_LOST;
    session->armed = false;
    close_doorbell(session);
}

int lens_session_report_lost(struct lens_session *session)
{
    if (session->state == LENS_SESSION_LOST) {
        session->lost += session->ring.submit_head - session->answered;
        session->dropped += lens_ring_client_dropped(&session->ring);
        session->state = LENS_SESSION_DETACHED;
    }
    return -ENOTCONN;
}

int lens_session_ready(struct lens_session *session)
{
    if (session->state == LENS_SESSION_ATTACHED)
        return 0;
    if (session->state == LENS_SESSION_LOST)
        return lens_session_report_lost(session);
    uint64_t now = lens_now_ns();
    if (session->held || now < session->retry_at_ns)
        return -ENOTCONN;
    int r = attach(session, now + LENS_ANSWER_TIMEOUT_NS, NULL);
    session->retry_at_ns = lens_now_ns() + (r == -ETIMEDOUT ? LENS_RETRY_SILENT_NS : LENS_RETRY_NS);
    return r == 0 ? 0 : -ENOTCONN;
}

/* ---- open and close --------------------------------------------------------------------------------------------- */

static void free_session(struct lens_session *session)
{
    close_doorbell(session);
    if (session->memory != NULL)
        munmap(session->memory, session->memory_bytes);
    lens_concepts_clear(&session->concepts);
    free(session->payload_ends);
    free(session->patterns);
    free(session);
}

int lens_session_open(struct lens_client *client, const struct lens_session_params *params, struct lens_session **out,
                      struct lens_client_error *err)
{
    struct lens_session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return lens_fail(err, -ENOMEM, "no memory for a session");
    session->client = client;
    session->doorbell = -1;
    session->state = LENS_SESSION_DETACHED;
    int r = keep_params(session, params, err);
    if (r == 0)
        r = attach(session, lens_now_ns() + LENS_ANSWER_TIMEOUT_NS, err);
    if (r != 0) {
        free_session(session);
        return r;
    }
    session->next = client->sessions;
    client->sessions = session;
    *out = session;
    return 0;
}

void lens_session_close(struct lens_session *session)
{
    if (session == NULL)
        return;
    struct lens_session **link = &session->client->sessions;
    while (*link != session)
        link = &(*link)->next;
    *link = session->next;
    if (session->state == LENS_SESSION_ATTACHED)
        say_detach(session->client, session->id);
    free_session(session);
}

void lens_session_get_info(const struct lens_session *session, struct lens_session_info *out)
{
    *out = (struct lens_session_info){
        .pack = session->pack,
        .model_id = session->model_id,
        .tap_layer = session->tap_layer,
        .tap_point = session->tap_point,
        .id = session->id,
        .dim = session->ring.layout.dim,
        .lenses = session->lenses,
        .max_rows = session->ring.layout.max_rows,
        .top_k = session->ring.layout.top_k,
        .generation = session->generation,
    };
}

int lens_session_end_sequence(struct lens_session *session, uint64_t sequence, struct lens_client_error *err)
{
    struct lens_msg *m = &session->client->scratch;
    int r = lens_session_ready(session);
    if (r != 0)
        return lens_fail(err, r, "the connection to lensd was lost; its sequences are gone");
    m->type = LENS_MSG_END_SEQUENCE;
    m->u.end_sequence = (struct lens_end_sequence){.session = session->id, .sequence = sequence};
    return lens_client_call(session->client, m, m, NULL, lens_now_ns() + LENS_ANSWER_TIMEOUT_NS, err);
}
