/* See alerts.h. The log's lines come from the rows that are remembered (events.h); where a row is forgotten already, or
 * none are remembered, what the totals say is told. */
#include "daemon/alerts.h"

#include "daemon/counter.h"
#include "daemon/service.h"

#include <inttypes.h>
#include <stdio.h>

int lensd_alerts_configure(struct lensd_service *service, struct lens_error *err)
{
    struct lensd_alerts *alerts = &service->alerts;
    struct lensd_rules *next = NULL;
    int r = lensd_rules_parse(service->settings->alerts.rules, &alerts->totals, &next, err);
    if (r != 0)
        return lens_error_prefix(err, "alerts.rules");
    lensd_rules_drop(alerts->rules);
    alerts->rules = next;
    return 0;
}

void lensd_alerts_close(struct lensd_alerts *alerts)
{
    lensd_rules_drop(alerts->rules);
    alerts->rules = NULL;
}

static uint64_t raised_so_far(const struct lensd_rule_totals *totals)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < totals->n; i++)
        sum += lensd_counter_get(&totals->items[i].raised);
    return sum;
}

static const char *name_of(const struct lensd_rule_totals *totals, uint32_t id)
{
    for (uint32_t i = 0; i < totals->n; i++)
        if (lens_rule_id_of(totals->items[i].name) == id)
            return totals->items[i].name;
    return "?";
}

static void tell(struct lensd_service *service, const struct lensd_event *event)
{
    const char *rule = name_of(&service->alerts.totals, event->row.verdict_rule);
    const char *action = event->row.verdict == LENS_VERDICT_STOP ? "stop" : "flag";
    char sequence[24];
    snprintf(sequence, sizeof sequence, "%" PRIu64, event->row.sequence);
    const struct lensd_log_fields fields = {
        .generation = event->row.generation,
        .session = event->row.session,
        .more = {{"LENSD_RULE", rule}, {"LENSD_ACTION", action}, {"LENSD_SEQUENCE", sequence}},
    };
    lensd_log_client(&service->log, LENSD_LOG_WARNING, LENSD_LOG_ALERT, &fields,
                     "rule %s was raised (%s): session %u, sequence %s, position %" PRIu64, rule, action,
                     event->row.session, sequence, event->row.position);
}

/* Tells of the remembered rows from `first` to before `end` that raised a rule; returns how many there were. */
static uint64_t tell_remembered(struct lensd_service *service, uint64_t first, uint64_t end)
{
    struct lensd_event event;
    uint64_t n = 0;
    for (uint64_t number = first; number < end; number++) {
        if (!lensd_events_read(service->events, number, &event) || (event.row.flags & LENS_ROW_ALERT) == 0)
            continue;
        tell(service, &event);
        n++;
    }
    return n;
}

/* What no remembered row told of by the second look: one row may have raised several rules, and names one; or it was
 * forgotten by then. */
static void tell_rest(struct lensd_service *service, uint64_t raised)
{
    struct lensd_alerts *alerts = &service->alerts;
    if (alerts->behind)
        lensd_log_client(&service->log, LENSD_LOG_WARNING, LENSD_LOG_ALERT, NULL,
                         "rules were raised %" PRIu64 " more times, by rows told of already or forgotten "
                         "(telemetry.events)",
                         raised - alerts->told_raised);
    if (alerts->behind)
        alerts->told_raised = raised;
    alerts->behind = !alerts->behind;
}

void lensd_alerts_look(struct lensd_service *service)
{
    struct lensd_alerts *alerts = &service->alerts;
    uint64_t first = 1, end = 1;
    /* In this order: a row is counted before it is remembered, so that no row before `end` is missing in the sum. */
    if (service->events != NULL)
        lensd_events_range(service->events, &first, &end);
    uint64_t raised = raised_so_far(&alerts->totals);
    first = alerts->told_event > first ? alerts->told_event : first;
    if (raised != alerts->told_raised)
        alerts->told_raised += tell_remembered(service, first, end);
    alerts->told_event = end;
    if (raised != alerts->told_raised)
        tell_rest(service, raised);
    else
        alerts->behind = false;
}
