/* See doctor_rig.h. */
#include "tests/unit/support/doctor_rig.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DAEMON_PID 77

int doctor_rig_setup(void **state)
{
    struct doctor_rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    snprintf(rig->root, sizeof rig->root, "/tmp/doctor-XXXXXX");
    assert_non_null(mkdtemp(rig->root));
    rig->doctor.root = rig->root;
    *state = rig;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st;
    (void)flag;
    (void)at;
    return remove(path);
}

int doctor_rig_teardown(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_report_free(&rig->doctor.report);
    doctor_daemon_free(&rig->doctor.daemon);
    nftw(rig->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(rig);
    return 0;
}

/* The path below the root, its folders made. */
static const char *place(const struct doctor_rig *rig, const char *path, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s%s", rig->root, path);
    for (char *slash = strchr(out + strlen(rig->root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(out, 0755);
        *slash = '/';
    }
    return out;
}

void doctor_rig_write(struct doctor_rig *rig, const char *path, const char *text)
{
    char whole[PATH_MAX];
    FILE *file = fopen(place(rig, path, whole), "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

void doctor_rig_link(struct doctor_rig *rig, const char *path, const char *target)
{
    char whole[PATH_MAX];
    unlink(place(rig, path, whole));
    assert_int_equal(symlink(target, whole), 0);
}

void doctor_rig_mode(struct doctor_rig *rig, const char *path, unsigned mode)
{
    char whole[PATH_MAX];
    assert_int_equal(chmod(place(rig, path, whole), mode), 0);
}

void doctor_rig_remove(struct doctor_rig *rig, const char *path)
{
    char whole[PATH_MAX];
    assert_int_equal(remove(place(rig, path, whole)), 0);
}

void doctor_rig_daemon(struct doctor_rig *rig)
{
    struct doctor_daemon *daemon = &rig->doctor.daemon;
    daemon->running = true;
    daemon->is_operator = true;
    daemon->status.pid = DAEMON_PID;
    daemon->status.threads = 2;
    snprintf(daemon->backend, sizeof daemon->backend, "cpu");
    snprintf(daemon->variant, sizeof daemon->variant, "avx512");
    snprintf(daemon->version, sizeof daemon->version, "%s", LENSD_VERSION);
    doctor_rig_write(rig, "/proc/77/comm", "lensd\n");
    doctor_rig_link(rig, "/proc/77/root", rig->root);
    doctor_rig_write(rig, "/proc/77/status",
                     "Name:\tlensd\nUid:\t500\t500\t500\t500\nGid:\t500\t500\t500\t500\nGroups:\t44 500 \n"
                     "VmSwap:\t       0 kB\nCpus_allowed_list:\t0-3\n");
}

void doctor_rig_setting(struct doctor_rig *rig, const char *name, const char *value)
{
    struct doctor_daemon *daemon = &rig->doctor.daemon;
    uint32_t i = 0;
    while (i < daemon->n_settings && strcmp(daemon->settings[i].name, name) != 0)
        i++;
    struct doctor_setting *setting = &daemon->settings[i];
    if (i == daemon->n_settings)
        daemon->n_settings++;
    free(setting->value);
    setting->value = strdup(value);
    snprintf(setting->name, sizeof setting->name, "%s", name);
}

void doctor_rig_run(struct doctor_rig *rig, void (*check)(struct doctor *doctor))
{
    doctor_report_free(&rig->doctor.report);
    check(&rig->doctor);
    assert_false(rig->doctor.report.no_memory);
}

static const struct doctor_finding *find(const struct doctor_rig *rig, const char *id)
{
    const struct doctor_report *report = &rig->doctor.report;
    for (size_t i = 0; i < report->count; i++) {
        if (strcmp(report->findings[i].id, id) == 0)
            return &report->findings[i];
    }
    return NULL;
}

void doctor_rig_expect(const struct doctor_rig *rig, const char *id, enum doctor_level level, const char *part)
{
    const struct doctor_finding *finding = find(rig, id);
    if (finding == NULL)
        fail_msg("no finding %s", id);
    if (finding->level != level || strstr(finding->found, part) == NULL)
        fail_msg("%s: expected %s with \"%s\", found %s: %s", id, doctor_level_name(level), part,
                 doctor_level_name(finding->level), finding->found);
    if (level >= DOCTOR_WARNING && finding->advice[0] == '\0')
        fail_msg("%s: doesn't say what to do", id);
    if (level == DOCTOR_OK && finding->advice[0] != '\0')
        fail_msg("%s: advises something though all is well: %s", id, finding->advice);
}

void doctor_rig_expect_none(const struct doctor_rig *rig, const char *id)
{
    const struct doctor_finding *finding = find(rig, id);
    if (finding != NULL)
        fail_msg("%s: expected none, found %s", id, finding->found);
}

void doctor_rig_expect_advice(const struct doctor_rig *rig, const char *id, const char *part)
{
    const struct doctor_finding *finding = find(rig, id);
    if (finding == NULL || strstr(finding->advice, part) == NULL)
        fail_msg("%s: expected advice with \"%s\", found %s", id, part,
                 finding != NULL ? finding->advice : "no finding");
}
