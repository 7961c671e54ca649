/* See liblens_rig.h. */
#include "tests/unit/support/liblens_rig.h"

#include <dirent.h>
#include <stdio.h>
#include <time.h>

uint64_t rig_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int rig_descriptors(void)
{
    int n = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    while (readdir(directory) != NULL)
        n++;
    closedir(directory);
    return n;
}

void rig_open_daemon(struct rig *rig)
{
    memset(rig, 0, sizeof *rig);
    rig->descriptors = rig_descriptors();
    snprintf(rig->directory, sizeof rig->directory, "/tmp/liblens-test-XXXXXX");
    assert_non_null(mkdtemp(rig->directory));
    snprintf(rig->path, sizeof rig->path, "%s/lensd.sock", rig->directory);
    fake_daemon_start(&rig->daemon, rig->path);
}

void rig_close_daemon(struct rig *rig)
{
    fake_daemon_stop(&rig->daemon);
    unlink(rig->path);
    rmdir(rig->directory);
    assert_int_equal(rig_descriptors(), rig->descriptors);
}

void rig_open(struct rig *rig, const struct lens_session_params *params)
{
    struct lens_session_params defaults;
    struct lens_client_error err = {0};
    lens_session_params_default(&defaults);
    rig_open_daemon(rig);
    if (lens_client_open(rig->path, &rig->client, &err) != 0 ||
        lens_session_open(rig->client, params != NULL ? params : &defaults, &rig->session, &err) != 0)
        fail_msg("%s", err.text);
}

void rig_close(struct rig *rig)
{
    lens_session_close(rig->session);
    lens_client_close(rig->client);
    rig_close_daemon(rig);
}

void rig_kill_daemon(struct rig *rig)
{
    fake_daemon_stop(&rig->daemon);
}

void rig_start_daemon(struct rig *rig)
{
    fake_daemon_start(&rig->daemon, rig->path);
}

int rig_send(struct rig *rig, unsigned char fill, uint64_t tag)
{
    struct lens_slot slot;
    int r = lens_session_acquire(rig->session, 1, LENS_TYPE_F32, 0, &slot);
    if (r != 0)
        return r;
    memset(slot.rows, fill, FAKE_DIM * sizeof(float));
    slot.tag = tag;
    return lens_session_submit(rig->session, &slot);
}

void rig_wait_served(struct rig *rig, int rows)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    uint64_t patience = rig_now_ms() + 10000;
    while (rig->daemon.served < rows && rig_now_ms() < patience)
        nanosleep(&pause, NULL);
    assert_true(rig->daemon.served >= rows);
    nanosleep(&pause, NULL); /* its wake-up comes just after */
}
