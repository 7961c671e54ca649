/* A machine made of files, for tests of lensctl doctor: a root directory that stands for /, and a doctor that looks at
 * it. The daemon, where a test wants one, has pid 77 and runs as uid 500. */
#ifndef TESTS_DOCTOR_RIG_H
#define TESTS_DOCTOR_RIG_H

#include "client/lensctl/doctor.h"

struct doctor_rig {
    char root[64];
    struct doctor doctor;
};

/* For cmocka_unit_test_setup_teardown: *state is a struct doctor_rig. */
int doctor_rig_setup(void **state);
int doctor_rig_teardown(void **state);

/* Writes a file below the root, with the folders on the way. */
void doctor_rig_write(struct doctor_rig *rig, const char *path, const char *text);
void doctor_rig_link(struct doctor_rig *rig, const char *path, const char *target);
void doctor_rig_mode(struct doctor_rig *rig, const char *path, unsigned mode);
void doctor_rig_remove(struct doctor_rig *rig, const char *path);

/* Makes the daemon run and be seen in /proc. */
void doctor_rig_daemon(struct doctor_rig *rig);
void doctor_rig_setting(struct doctor_rig *rig, const char *name, const char *value);

/* Runs one check anew, on an empty report. */
void doctor_rig_run(struct doctor_rig *rig, void (*check)(struct doctor *doctor));

/* The finding `id` is there, of this level, and its sentence holds `part`; from the warning on it says what to do. */
void doctor_rig_expect(const struct doctor_rig *rig, const char *id, enum doctor_level level, const char *part);
void doctor_rig_expect_none(const struct doctor_rig *rig, const char *id);

/* What the finding `id` advises holds `part`. */
void doctor_rig_expect_advice(const struct doctor_rig *rig, const char *id, const char *part);

#endif
