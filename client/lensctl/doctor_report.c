/* The list of findings; see doctor.h. */
#include "client/lensctl/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct doctor_finding *add(struct doctor_report *report)
{
    if (report->count == report->capacity) {
        size_t capacity = report->capacity > 0 ? 2 * report->capacity : 32;
        struct doctor_finding *findings = realloc(report->findings, capacity * sizeof *findings);
        if (findings == NULL) {
            report->no_memory = true;
            return NULL;
        }
        report->findings = findings;
        report->capacity = capacity;
    }
    return &report->findings[report->count++];
}

void doctor_find(struct doctor_report *report, const char *id, enum doctor_level level, const char *format, ...)
{
    struct doctor_finding *finding = add(report);
    if (finding == NULL)
        return;
    va_list args;
    va_start(args, format);
    finding->id = id;
    finding->level = level;
    finding->advice[0] = '\0';
    vsnprintf(finding->found, sizeof finding->found, format, args);
    va_end(args);
}

void doctor_advise(struct doctor_report *report, const char *format, ...)
{
    if (report->count == 0 || report->no_memory)
        return;
    struct doctor_finding *finding = &report->findings[report->count - 1];
    va_list args;
    va_start(args, format);
    vsnprintf(finding->advice, sizeof finding->advice, format, args);
    va_end(args);
}

enum doctor_level doctor_worst(const struct doctor_report *report)
{
    enum doctor_level worst = DOCTOR_OK;
    for (size_t i = 0; i < report->count; i++)
        worst = report->findings[i].level > worst ? report->findings[i].level : worst;
    return worst;
}

const char *doctor_level_name(enum doctor_level level)
{
    static const char *const names[] = {"ok", "note", "warning", "problem"};
    return names[level];
}

void doctor_report_free(struct doctor_report *report)
{
    free(report->findings);
    *report = (struct doctor_report){0};
}

const char *doctor_setting(const struct doctor_daemon *daemon, const char *name)
{
    for (uint32_t i = 0; i < daemon->n_settings; i++) {
        if (strcmp(daemon->settings[i].name, name) == 0)
            return daemon->settings[i].value;
    }
    return NULL;
}

uint64_t doctor_setting_number(const struct doctor_daemon *daemon, const char *name, uint64_t otherwise)
{
    const char *value = doctor_setting(daemon, name);
    char *end;
    if (value == NULL)
        return otherwise;
    uint64_t number = strtoull(value, &end, 10);
    static const char units[] = "KMGT";
    const char *unit = *end != '\0' ? strchr(units, *end) : NULL;
    if (end == value || (*end != '\0' && (unit == NULL || end[1] != '\0')))
        return otherwise;
    return unit != NULL ? number << (10 * (unit - units + 1)) : number;
}

void doctor_daemon_free(struct doctor_daemon *daemon)
{
    for (uint32_t i = 0; i < daemon->n_settings; i++)
        free(daemon->settings[i].value);
    daemon->n_settings = 0;
}
