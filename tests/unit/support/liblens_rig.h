/* A fake daemon in a directory of its own, a client of it and a session. Closing checks that no descriptor leaked. */
#ifndef LENS_TEST_LIBLENS_RIG_H
#define LENS_TEST_LIBLENS_RIG_H

#include "client/liblens/control.h"
#include "client/liblens/lens.h"
#include "tests/unit/support/fake_daemon.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct rig {
    struct fake_daemon daemon;
    struct lens_client *client;
    struct lens_session *session;
    char directory[64], path[96];
    int descriptors; /* open before */
};

void rig_open_daemon(struct rig *rig);
void rig_close_daemon(struct rig *rig);

/* Daemon, client and session; `params` NULL = defaults. */
void rig_open(struct rig *rig, const struct lens_session_params *params);
void rig_close(struct rig *rig);

/* The daemon goes away like a crash; a fresh one comes, well-behaved. */
void rig_kill_daemon(struct rig *rig);
void rig_start_daemon(struct rig *rig);

/* One f32 row full of bytes `fill`. 0 or what acquire or submit said. */
int rig_send(struct rig *rig, unsigned char fill, uint64_t tag);

/* Until the daemon has answered `rows` rows and told so. */
void rig_wait_served(struct rig *rig, int rows);

uint64_t rig_now_ms(void);
int rig_descriptors(void); /* open in this process */

#endif
