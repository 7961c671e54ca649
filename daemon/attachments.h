/* Every attached session and the connection it belongs to. A fixed table: no allocation after open.
 *
 * Threads: the loop's. */
#ifndef LENSD_ATTACHMENTS_H
#define LENSD_ATTACHMENTS_H

#include "daemon/session.h"

struct lensd_connection;
struct lensd_engine;

struct lensd_attachment {
    struct lensd_session *session; /* owned */
    const struct lensd_connection *owner;
};

struct lensd_attachments {
    struct lensd_attachment *items; /* the first n are in use, in the order they came */
    uint32_t n, capacity;
    uint64_t memory_bytes; /* of all sessions' shared memory and retained sets */
};

int lensd_attachments_init(struct lensd_attachments *table, uint32_t capacity); /* -ENOMEM */
void lensd_attachments_free(struct lensd_attachments *table);                   /* must be empty */

/* Takes the session over and counts it on its pack. -EMFILE when full. */
int lensd_attachments_add(struct lensd_attachments *table, struct lensd_session *session,
                          const struct lensd_connection *owner);

/* The session of that id, or NULL; `owner` NULL looks at everyone's. */
struct lensd_session *lensd_attachments_find(const struct lensd_attachments *table, uint32_t id,
                                             const struct lensd_connection *owner);

/* Detaches from the engine (NULL: it is stopped already) and destroys. */
void lensd_attachments_close(struct lensd_attachments *table, struct lensd_engine *engine,
                             struct lensd_session *session);
/* All of one connection's; returns how many. */
uint32_t lensd_attachments_close_all(struct lensd_attachments *table, struct lensd_engine *engine,
                                     const struct lensd_connection *owner);

#endif
