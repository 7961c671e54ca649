/* lensctl status: the daemon on one screen. */
#include "client/lensctl/commands.h"
#include "client/lensctl/daemon_link.h"

#include <string.h>

/* Lenses in no slot that rows wanted: foreseen, waited for, or gone without. */
static uint64_t lacked(const struct lens_status *s)
{
    return s->prefetch_used + s->loads_waited + s->loads_behind;
}

static void set_cache(json_t *object, const struct lens_status *s)
{
    ctl_json_set_text(object, "policy", s->policy);
    ctl_json_set_text(object, "loading", s->loading);
    ctl_json_set_text(object, "memory", s->memory);
    ctl_json_set_count(object, "evictions", s->evictions);
    ctl_json_set_count(object, "loads", s->loads);
    ctl_json_set_count(object, "loads_behind", s->loads_behind);
    ctl_json_set_count(object, "host_hits", s->host_hits);
    ctl_json_set_count(object, "cold", s->cold);
    ctl_json_set_count(object, "host_bytes", s->host_bytes);
    ctl_json_set_count(object, "prefetch_issued", s->prefetch_issued);
    ctl_json_set_count(object, "prefetch_used", s->prefetch_used);
    ctl_json_set_count(object, "prefetch_wasted", s->prefetch_wasted);
    ctl_json_set_count(object, "prefetch_late", s->prefetch_late);
    json_object_set_new(object, "prefetch_precision",
                        s->prefetch_issued > 0 ? json_real((double)s->prefetch_used / (double)s->prefetch_issued)
                                               : json_null());
    json_object_set_new(object, "prefetch_recall",
                        lacked(s) > 0 ? json_real((double)s->prefetch_used / (double)lacked(s)) : json_null());
    ctl_json_set_count(object, "loads_waited", s->loads_waited);
    ctl_json_set_count(object, "queued", s->queued);
}

static int print_json(const struct ctl *ctl, const struct lens_status *s, json_t *packs)
{
    json_t *object = ctl_json_new();
    ctl_json_set_text(object, "version", s->version);
    ctl_json_set_count(object, "pid", s->pid);
    ctl_json_set_count(object, "uptime_ns", s->uptime_ns);
    ctl_json_set_count(object, "start_time_ns", s->start_time_ns);
    ctl_json_set_text(object, "backend", s->backend);
    ctl_json_set_text(object, "device", s->device);
    ctl_json_set_text(object, "variant", s->variant);
    ctl_json_set_text(object, "reason", s->reason);
    ctl_json_set_count(object, "threads", s->threads);
    ctl_json_set_count(object, "packs", s->packs);
    json_object_set(object, "pack_names", packs);
    ctl_json_set_count(object, "sessions", s->sessions);
    ctl_json_set_count(object, "rows", s->rows);
    ctl_json_set_count(object, "dropped_rows", s->dropped_rows);
    ctl_json_set_count(object, "invalid_rows", s->invalid_rows);
    ctl_json_set_count(object, "degraded_rows", s->degraded_rows);
    ctl_json_set_count(object, "lenses_scored", s->lenses_scored);
    ctl_json_set_count(object, "heap_bytes", s->heap_bytes);
    ctl_json_set_count(object, "slab_bytes", s->slab_bytes);
    ctl_json_set_count(object, "slots", s->slots);
    ctl_json_set_count(object, "resident", s->resident);
    ctl_json_set_count(object, "host_resident", s->host_resident);
    ctl_json_set_count(object, "slot_hits", s->slot_hits);
    ctl_json_set_count(object, "slot_misses", s->slot_misses);
    ctl_json_set_count(object, "load_bytes", s->load_bytes);
    ctl_json_set_text(object, "degraded", s->degraded);
    ctl_json_set_text(object, "config", s->config);
    ctl_json_set_text(object, "metrics", s->metrics);
    ctl_json_set_count(object, "p50_ns", s->p50_ns);
    ctl_json_set_count(object, "p99_ns", s->p99_ns);
    set_cache(object, s);
    return ctl_json_print(&ctl->out, object, false);
}

static void add_loads(struct ctl_table *table, const struct lens_status *s)
{
    char a[32], b[32];
    ctl_table_add(table, "loads");
    ctl_table_add(table, "%llu lenses, %s: %llu from the file, %llu from host memory, %llu behind; %llu evictions",
                  (unsigned long long)s->loads, ctl_bytes_text(s->load_bytes, a, sizeof a), (unsigned long long)s->cold,
                  (unsigned long long)s->host_hits, (unsigned long long)s->loads_behind,
                  (unsigned long long)s->evictions);
    ctl_table_add(table, "prefetch");
    if (s->prefetch_issued == 0)
        ctl_table_add(table, "none");
    else
        ctl_table_add(table, "%llu lenses, %s used (%s of what rows lacked), %llu of them late, %llu wasted",
                      (unsigned long long)s->prefetch_issued,
                      ctl_percent_text(s->prefetch_used, s->prefetch_issued, a, sizeof a),
                      ctl_percent_text(s->prefetch_used, lacked(s), b, sizeof b), (unsigned long long)s->prefetch_late,
                      (unsigned long long)s->prefetch_wasted);
    if (s->loading.length > 0) {
        ctl_table_add(table, "loading");
        ctl_table_text(table, s->loading);
    }
}

static void add_work(struct ctl_table *table, const struct lens_status *s)
{
    char a[32], b[32];
    ctl_table_add(table, "rows");
    ctl_table_add(table, "%llu, %llu dropped, %llu invalid, %llu degraded; %llu lenses scored",
                  (unsigned long long)s->rows, (unsigned long long)s->dropped_rows, (unsigned long long)s->invalid_rows,
                  (unsigned long long)s->degraded_rows, (unsigned long long)s->lenses_scored);
    ctl_table_add(table, "latency");
    if (s->rows == 0)
        ctl_table_add(table, "no row yet");
    else
        ctl_table_add(table, "p50 %s, p99 %s", ctl_latency_text(s->p50_ns, a, sizeof a),
                      ctl_latency_text(s->p99_ns, b, sizeof b));
    ctl_table_add(table, "slots");
    ctl_table_add(table, "%u of %u hold a lens (%s), policy %.*s", s->resident, s->slots,
                  ctl_bytes_text(s->slab_bytes, a, sizeof a), (int)s->policy.length, s->policy.data);
    if (s->memory.length > 0) {
        ctl_table_add(table, "memory");
        ctl_table_text(table, s->memory);
    }
    ctl_table_add(table, "host");
    ctl_table_add(table, "%u lenses in host memory (%s)", s->host_resident, ctl_bytes_text(s->host_bytes, a, sizeof a));
    ctl_table_add(table, "hits");
    ctl_table_add(table, "%s of what rows wanted was in a slot",
                  ctl_percent_text(s->slot_hits, s->slot_hits + s->slot_misses, b, sizeof b));
    add_loads(table, s);
    ctl_table_add(table, "heap");
    ctl_table_add(table, "%s", ctl_bytes_text(s->heap_bytes, a, sizeof a));
}

static void add_service(const struct ctl *ctl, const struct lens_status *s)
{
    char text[2048]; /* several steps may be in force */
    bool full = s->degraded.length == 0;
    ctl_printable(full ? "full service" : s->degraded.data, full ? 12 : s->degraded.length, text, sizeof text);
    fprintf(ctl->out.file, "%s%s%s", ctl->out.terminal ? "service   " : "service\t",
            ctl_style(&ctl->out, full ? CTL_GREEN : CTL_RED), full ? "" : "degraded: ");
    (void)ctl_print_wrapped(&ctl->out, text, full ? 10 : 20);
    fprintf(ctl->out.file, "%s\n", ctl_style(&ctl->out, CTL_PLAIN));
}

/* The configuration, when a reload failed: nobody sees that otherwise until a restart does. */
static void add_config(const struct ctl *ctl, const struct lens_status *s)
{
    char text[1024];
    if (s->config.length == 0)
        return;
    ctl_printable(s->config.data, s->config.length, text, sizeof text);
    fprintf(ctl->out.file, "%s%s", ctl->out.terminal ? "config    " : "config\t", ctl_style(&ctl->out, CTL_RED));
    (void)ctl_print_wrapped(&ctl->out, text, 10);
    fprintf(ctl->out.file, "%s\n", ctl_style(&ctl->out, CTL_PLAIN));
}

static bool on_a_card(const struct lens_status *s)
{
    return s->backend.length == 4 && memcmp(s->backend.data, "cuda", 4) == 0;
}

/* "2: small, large". */
static void add_packs(struct ctl_table *table, const struct lens_status *s, json_t *packs)
{
    char text[256];
    size_t used = (size_t)snprintf(text, sizeof text, "%u", s->packs), i;
    json_t *name;
    json_array_foreach(packs, i, name)
    {
        bool fits = used + json_string_length(name) + 8 < sizeof text; /* and ", .." */
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i == 0 ? ": " : ", ",
                                 fits && json_is_string(name) ? json_string_value(name) : "..");
        if (!fits)
            break;
    }
    ctl_table_add(table, "packs");
    ctl_table_text(table, lens_text_of(text));
}

static int print_text(const struct ctl *ctl, const struct lens_status *s, json_t *packs)
{
    static const struct ctl_column columns[] = {{NULL, false}, {NULL, false}};
    struct ctl_table table;
    char uptime[32];
    ctl_table_init(&table, columns, 2);
    ctl_table_add(&table, "lensd");
    ctl_table_add(&table, "%.*s, pid %llu, up %s", (int)s->version.length, s->version.data, (unsigned long long)s->pid,
                  ctl_duration_text(s->uptime_ns, uptime, sizeof uptime));
    ctl_table_add(&table, "backend");
    ctl_table_add(&table, "%.*s (%.*s), %u %s", (int)s->backend.length, s->backend.data, (int)s->variant.length,
                  s->variant.data, s->threads, on_a_card(s) ? "multiprocessors" : "threads");
    ctl_table_add(&table, "device");
    ctl_table_text(&table, s->device);
    ctl_table_add(&table, "because");
    ctl_table_text(&table, s->reason);
    add_packs(&table, s, packs);
    ctl_table_add(&table, "sessions");
    ctl_table_add(&table, "%u", s->sessions);
    add_work(&table, s);
    ctl_table_add(&table, "metrics");
    ctl_table_text(&table, s->metrics);
    int r = ctl_table_print(&table, &ctl->out);
    add_service(ctl, s);
    add_config(ctl, s);
    return r == 0 ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

/* Names of the loaded packs, as many as one page has. */
static int fetch_packs(struct lens_client *client, struct lens_msg *msg, json_t *names)
{
    ctl_request(msg, LENS_MSG_PACKS);
    int r = ctl_call(client, msg, LENS_MSG_PACK_PAGE);
    for (uint32_t i = 0; r == CTL_OK && i < msg->u.pack_page.count; i++)
        json_array_append_new(names, ctl_json_text(msg->u.pack_page.rows[i].name));
    return r;
}

int ctl_run_status(struct ctl *ctl)
{
    struct lens_client *client;
    struct lens_msg msg;
    int r = ctl_connect(ctl, &client);
    if (r != CTL_OK)
        return r;
    json_t *packs = json_array();
    r = fetch_packs(client, &msg, packs);
    ctl_request(&msg, LENS_MSG_STATUS);
    if (r == CTL_OK)
        r = ctl_call(client, &msg, LENS_MSG_STATUS_IS);
    if (r == CTL_OK)
        r = ctl->json ? print_json(ctl, &msg.u.status_is, packs) : print_text(ctl, &msg.u.status_is, packs);
    json_decref(packs);
    lens_client_close(client);
    return r;
}
