/* Rows whose answers must be the same bit for bit whenever they are asked; see soak.h. */
#include "tests/soak/soak.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Rows of the probe's submissions: alone, few, many. */
static const uint32_t pieces[] = {1, 7, 16};

static uint64_t mix(uint64_t digest, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < n; i++)
        digest = (digest ^ at[i]) * 0x100000001b3ull;
    return digest;
}

/* All that the daemon decided about the row: ids, the bits of every number, what it expanded, how many it scored. */
static uint64_t digest_of(const struct lens_answer *a)
{
    uint64_t digest = 0xcbf29ce484222325ull;
    const uint32_t facts[] = {a->status, a->reason, a->flags, a->n_hits, a->counts.scored, a->counts.expanded};
    digest = mix(digest, facts, sizeof facts);
    for (uint32_t h = 0; h < a->n_hits; h++) {
        digest = mix(digest, &a->hits[h].id, sizeof a->hits[h].id);
        digest = mix(digest, &a->hits[h].score, sizeof a->hits[h].score);
        digest = mix(digest, &a->hits[h].raw, sizeof a->hits[h].raw);
        digest = mix(digest, &a->hits[h].logit, sizeof a->hits[h].logit);
    }
    return mix(digest, a->expanded, a->n_expanded_stored * sizeof *a->expanded);
}

static bool send_piece(struct lens_session *session, const struct soak_rows *rows, uint32_t first, uint32_t n)
{
    struct lens_slot slot;
    if (lens_session_acquire(session, n, LENS_TYPE_F32, 0, &slot) != 0)
        return false;
    /* One stream, so that each row finds what the one before it left. */
    memcpy(slot.rows, rows->states + (size_t)first * rows->dim, (size_t)n * rows->dim * sizeof(float));
    slot.first_position = first;
    return lens_session_submit(session, &slot) == 0;
}

static bool read_piece(struct soak_shared *shared, struct soak_tally *tally, struct lens_session *session,
                       uint32_t first, uint32_t n, uint64_t *digests)
{
    struct lens_answer answer = {0};
    for (uint32_t i = 0; i < n; i++) {
        int r = lens_session_wait(session, 120000000, &answer);
        if (r != 0) {
            soak_fail(shared, "a probe row got no answer: %s", strerror(-r));
            return false;
        }
        digests[first + i] = digest_of(&answer);
        uint32_t status = answer.status, flags = answer.flags;
        tally->answered++;
        tally->scored += answer.counts.scored;
        tally->complete += status == 0;
        lens_session_release(session);
        if (status != 0 || flags != 0) {
            soak_fail(shared, "a probe row came back with status %u, flags %u", status, flags);
            return false;
        }
    }
    return true;
}

static bool probe_mode(struct soak_shared *shared, struct soak_tally *tally, struct lens_client *client,
                       const struct soak_rows *rows, int expand, uint64_t *digests)
{
    struct lens_session_params params;
    struct lens_client_error err = {0};
    struct lens_session *session;
    lens_session_params_default(&params);
    params.max_rows = 16;
    params.expand = (int8_t)expand;
    params.miss = 0;
    params.label = "probe";
    int r = lens_session_open(client, &params, &session, &err);
    for (int tries = 0; (r == -ETIMEDOUT || r == -ENOTCONN) && tries < 60; tries++) {
        usleep(200000);
        r = lens_session_open(client, &params, &session, &err);
    }
    if (r != 0) {
        soak_fail(shared, "no session for the probe: %s", err.text);
        return false;
    }
    bool right = true;
    for (uint32_t i = 0, first = 0; right && i < sizeof pieces / sizeof pieces[0]; first += pieces[i++]) {
        right = send_piece(session, rows, first, pieces[i]);
        if (!right)
            soak_fail(shared, "the probe's rows can't be submitted");
        tally->submitted += pieces[i];
        right = right && read_piece(shared, tally, session, first, pieces[i], digests);
    }
    tally->sessions++;
    lens_session_close(session);
    return right;
}

static struct lens_client *connect_patiently(struct soak_shared *shared, const char *socket)
{
    struct lens_client_error err = {0};
    struct lens_client *client = NULL;
    int r = -ETIMEDOUT;
    for (int tries = 0; r == -ETIMEDOUT && tries < 30; tries++)
        r = lens_client_open(socket, &client, &err);
    if (r != 0)
        soak_fail(shared, "the probe can't connect: %s", err.text);
    return client;
}

bool soak_touch(struct soak_shared *shared, const char *socket)
{
    struct lens_session_params params;
    struct lens_session *session = NULL;
    struct lens_client *client = connect_patiently(shared, socket);
    lens_session_params_default(&params);
    params.label = "touch";
    int r = client ? lens_session_open(client, &params, &session, NULL) : -ENOTCONN;
    usleep(10000);
    lens_client_close(client);
    return r == 0;
}

bool soak_probe(struct soak_shared *shared, struct soak_tally *tally, const char *socket, const struct soak_rows *rows,
                struct soak_probe *out)
{
    struct lens_client *client = connect_patiently(shared, socket);
    bool right = client != NULL;
    for (uint32_t mode = 0; right && mode < SOAK_PROBE_MODES; mode++)
        right = probe_mode(shared, tally, client, rows, (int)mode, out->digest[mode]);
    lens_client_close(client);
    return right;
}
