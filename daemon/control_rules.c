/* RULES: the rules on content that are configured, then those that were once: sessions may still have them.
 * RULE_READINGS: what a session's rules last read in one of its sequences. */
#include "daemon/alerts.h"
#include "daemon/control.h"
#include "daemon/counter.h"

#include <string.h>

_Static_assert(LENSD_RULES_MAX <= LENS_PAGE_ROWS, "a session's rules fit one page");

/* One page is being filled: rows before `first` are passed over, those beyond the page counted. */
static struct lens_rule_row *next_row(struct lens_rule_page *page)
{
    bool here = page->total++ >= page->first && page->count < LENS_PAGE_ROWS;
    return here ? &page->rows[page->count++] : NULL;
}

static void add_configured(const struct lensd_rules *rules, struct lens_rule_page *page)
{
    for (uint32_t i = 0; i < rules->n; i++) {
        const struct lensd_rule *rule = &rules->rules[i];
        struct lens_rule_row *row = next_row(page);
        if (row != NULL)
            *row = (struct lens_rule_row){.id = rule->id,
                                          .name = lens_text_of(rule->name),
                                          .text = lens_text_of(rule->text),
                                          .action = rule->action,
                                          .raised = lensd_counter_get(rule->total)};
    }
}

static bool is_configured(const struct lensd_rules *rules, const char *name)
{
    for (uint32_t i = 0; rules != NULL && i < rules->n; i++) {
        if (strcmp(rules->rules[i].name, name) == 0)
            return true;
    }
    return false;
}

static void add_earlier(const struct lensd_rules *rules, const struct lensd_rule_totals *totals,
                        struct lens_rule_page *page)
{
    for (uint32_t i = 0; i < totals->n; i++) {
        if (is_configured(rules, totals->items[i].name))
            continue;
        struct lens_rule_row *row = next_row(page);
        if (row != NULL)
            *row = (struct lens_rule_row){.id = lens_rule_id_of(totals->items[i].name),
                                          .name = lens_text_of(totals->items[i].name),
                                          .action = totals->items[i].action,
                                          .raised = lensd_counter_get(&totals->items[i].raised)};
    }
}

void lensd_control_rules(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    const struct lensd_alerts *alerts = &service->alerts;
    struct lens_rule_page *page = &lensd_control_answer(service, LENS_MSG_RULE_PAGE)->u.rule_page;
    page->first = request->u.page.first;
    if (alerts->rules != NULL)
        add_configured(alerts->rules, page);
    add_earlier(alerts->rules, &alerts->totals, page);
    lensd_connection_send(c, &service->answer, NULL, 0);
}

static void fill_readings(const struct lensd_rules *rules, const struct lensd_rule_reading *readings,
                          struct lens_rule_reading_page *page)
{
    for (uint32_t i = 0; i < rules->n; i++) {
        const struct lensd_rule_reading *reading = &readings[i];
        page->rows[page->count++] = (struct lens_rule_reading_row){
            .id = rules->rules[i].id,
            .name = lens_text_of(rules->rules[i].name),
            .action = rules->rules[i].action,
            .raised = reading->raised,
            .reading = reading->reading,
            .smoothed = reading->smoothed,
            .deviation = reading->deviation,
            .trend = reading->trend,
        };
    }
}

void lensd_control_rule_readings(struct lensd_service *service, struct lensd_connection *c,
                                 const struct lens_msg *request)
{
    const struct lens_end_sequence *asked = &request->u.rule_readings;
    struct lensd_rule_reading readings[LENSD_RULES_MAX];
    struct lensd_session *session = lensd_attachments_find(&service->sessions, asked->session, lensd_control_scope(c));
    if (session == NULL) {
        lensd_connection_fault(c, LENS_FAULT_NO_SUCH_SESSION, "no session %u: see lensctl sessions", asked->session);
        return;
    }
    if (session->rules == NULL) {
        lensd_connection_fault(c, LENS_FAULT_UNSUPPORTED,
                               "session %u has no rules: alerts.rules was empty when it was opened", session->id);
        return;
    }
    if (lensd_engine_rule_readings(service->engine, session, asked->sequence, readings) != 0) {
        lensd_connection_fault(c, LENS_FAULT_NO_SUCH_SESSION,
                               "session %u has no sequence %llu of which a row was judged", session->id,
                               (unsigned long long)asked->sequence);
        return;
    }
    struct lens_rule_reading_page *page =
        &lensd_control_answer(service, LENS_MSG_RULE_READING_PAGE)->u.rule_reading_page;
    fill_readings(session->rules, readings, page);
    lensd_connection_send(c, &service->answer, NULL, 0);
}
