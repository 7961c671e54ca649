/* lensctl doctor: runs all checks and prints the findings. */
#include "client/lensctl/commands.h"
#include "client/lensctl/doctor_ask.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_COLUMN 11 /* after the level */

/* In the order in which they are printed. */
static void (*const checks[])(struct doctor *doctor) = {
    doctor_check_socket, doctor_check_service, doctor_check_packs,  doctor_check_cache,
    doctor_check_cpu,    doctor_check_isa,     doctor_check_memory, doctor_check_card,
};

/* "memory" of "memory.swap". */
static int group_length(const struct doctor_finding *finding)
{
    return (int)strcspn(finding->id, ".");
}

static void count_levels(const struct doctor_report *report, unsigned counts[4])
{
    memset(counts, 0, 4 * sizeof *counts);
    for (size_t i = 0; i < report->count; i++)
        counts[report->findings[i].level]++;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

static json_t *finding_json(const struct doctor_finding *finding)
{
    json_t *object = json_object();
    ctl_json_set_text(object, "id", lens_text_of(finding->id));
    ctl_json_set_text(object, "level", lens_text_of(doctor_level_name(finding->level)));
    ctl_json_set_text(object, "found", lens_text_of(finding->found));
    json_object_set_new(object, "do",
                        finding->advice[0] != '\0' ? ctl_json_text(lens_text_of(finding->advice)) : json_null());
    return object;
}

static int print_json(const struct ctl *ctl, const struct doctor *doctor)
{
    json_t *object = ctl_json_new(), *list = json_array();
    json_object_set_new(object, "daemon_running", json_boolean(doctor->daemon.running));
    ctl_json_set_text(object, "worst", lens_text_of(doctor_level_name(doctor_worst(&doctor->report))));
    for (size_t i = 0; i < doctor->report.count; i++)
        json_array_append_new(list, finding_json(&doctor->report.findings[i]));
    json_object_set_new(object, "findings", list);
    return ctl_json_print(&ctl->out, object, false);
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

static enum ctl_style level_style(enum doctor_level level)
{
    static const enum ctl_style styles[] = {CTL_GREEN, CTL_CYAN, CTL_YELLOW, CTL_RED};
    return styles[level];
}

/* After the sentence, or on a line of its own where it doesn't fit. */
static void print_id(const struct ctl_output *out, const char *id, unsigned column)
{
    unsigned width = ctl_width(out);
    if (width > 0 && column + 2 + strlen(id) > width)
        fprintf(out->file, "\n%*s", TEXT_COLUMN, "");
    else
        fputs("  ", out->file);
    fprintf(out->file, "%s%s%s\n", ctl_style(out, CTL_DIM), id, ctl_style(out, CTL_PLAIN));
}

static void print_finding(const struct ctl *ctl, const struct doctor_finding *finding)
{
    char text[2400]; /* names of files and packs are somebody else's */
    const struct ctl_output *out = &ctl->out;
    const char *plain = ctl_style(out, CTL_PLAIN);
    fprintf(out->file, "  %s%-7s%s  ", ctl_style(out, level_style(finding->level)), doctor_level_name(finding->level),
            plain);
    ctl_printable(finding->found, strlen(finding->found), text, sizeof text);
    print_id(out, finding->id, ctl_print_wrapped(out, text, TEXT_COLUMN));
    if (finding->advice[0] == '\0')
        return;
    ctl_printable(finding->advice, strlen(finding->advice), text, sizeof text);
    fprintf(out->file, "%*s-> ", TEXT_COLUMN, "");
    (void)ctl_print_wrapped(out, text, TEXT_COLUMN + 3);
    fputc('\n', out->file);
}

static void print_group(const struct ctl *ctl, const struct doctor_finding *finding)
{
    fprintf(ctl->out.file, "%s%.*s%s\n", ctl_style(&ctl->out, CTL_BOLD), group_length(finding), finding->id,
            ctl_style(&ctl->out, CTL_PLAIN));
}

static bool same_group(const struct doctor_finding *a, const struct doctor_finding *b)
{
    int n = group_length(a);
    return n == group_length(b) && memcmp(a->id, b->id, (size_t)n) == 0;
}

static int print_text(const struct ctl *ctl, const struct doctor *doctor)
{
    const struct doctor_report *report = &doctor->report;
    unsigned counts[4];
    for (size_t i = 0; i < report->count; i++) {
        const struct doctor_finding *finding = &report->findings[i];
        if (i == 0 || !same_group(finding, &report->findings[i - 1]))
            print_group(ctl, finding);
        print_finding(ctl, finding);
    }
    count_levels(report, counts);
    const unsigned notes = counts[DOCTOR_NOTE], warnings = counts[DOCTOR_WARNING], problems = counts[DOCTOR_PROBLEM];
    fprintf(ctl->out.file, "\n%u ok, %u note%s, %u warning%s, %u problem%s\n", counts[DOCTOR_OK], notes,
            notes == 1 ? "" : "s", warnings, warnings == 1 ? "" : "s", problems, problems == 1 ? "" : "s");
    return CTL_OK;
}

static int report(const struct ctl *ctl, const struct doctor *doctor)
{
    if (doctor->report.no_memory)
        return ctl_fail(CTL_FAILED, "out of memory");
    int r = ctl->json ? print_json(ctl, doctor) : print_text(ctl, doctor);
    return r == CTL_OK && doctor_worst(&doctor->report) == DOCTOR_PROBLEM ? CTL_FAILED : r;
}

int ctl_run_doctor(struct ctl *ctl)
{
    struct doctor *doctor = calloc(1, sizeof *doctor);
    const char *root = getenv("LENSCTL_DOCTOR_ROOT"); /* a tree of files in place of the machine's, for tests */
    if (doctor == NULL)
        return ctl_fail(CTL_FAILED, "out of memory");
    doctor->root = root != NULL ? root : "";
    int r = doctor_ask(ctl->socket_path, &doctor->daemon) == 0 ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
    for (size_t i = 0; r == CTL_OK && i < sizeof checks / sizeof checks[0]; i++)
        checks[i](doctor);
    if (r == CTL_OK)
        r = report(ctl, doctor);
    doctor_report_free(&doctor->report);
    doctor_daemon_free(&doctor->daemon);
    free(doctor);
    return r;
}
