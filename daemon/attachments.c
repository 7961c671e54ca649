/* See attachments.h. */
#include "daemon/attachments.h"

#include "daemon/engine.h"
#include "daemon/sys.h"

#include <errno.h>
#include <string.h>

int lensd_attachments_init(struct lensd_attachments *table, uint32_t capacity)
{
    *table = (struct lensd_attachments){.capacity = capacity};
    table->items = lensd_calloc(capacity, sizeof *table->items);
    return table->items != NULL ? 0 : -ENOMEM;
}

void lensd_attachments_free(struct lensd_attachments *table)
{
    lensd_free(table->items);
    table->items = NULL;
}

int lensd_attachments_add(struct lensd_attachments *table, struct lensd_session *session,
                          const struct lensd_connection *owner)
{
    if (table->n == table->capacity)
        return -EMFILE;
    table->items[table->n++] = (struct lensd_attachment){.session = session, .owner = owner};
    table->memory_bytes += session->memory_bytes;
    session->binding.served->sessions++;
    return 0;
}

struct lensd_session *lensd_attachments_find(const struct lensd_attachments *table, uint32_t id,
                                             const struct lensd_connection *owner)
{
    for (uint32_t i = 0; i < table->n; i++) {
        if (table->items[i].session->id == id && (owner == NULL || table->items[i].owner == owner))
            return table->items[i].session;
    }
    return NULL;
}

static void close_at(struct lensd_attachments *table, struct lensd_engine *engine, uint32_t at)
{
    struct lensd_session *session = table->items[at].session;
    if (engine != NULL) {
        lensd_engine_detach(engine, session);
        lensd_session_unlock_rows(session);    /* locked pages would outlive their discarding */
        lensd_session_discard_memory(session); /* not when the daemon ends: its last answers may still be read */
    }
    session->binding.served->sessions--;
    table->memory_bytes -= session->memory_bytes;
    lensd_session_destroy(session);
    table->n--;
    memmove(&table->items[at], &table->items[at + 1], (table->n - at) * sizeof *table->items);
}

void lensd_attachments_close(struct lensd_attachments *table, struct lensd_engine *engine,
                             struct lensd_session *session)
{
    for (uint32_t i = 0; i < table->n; i++) {
        if (table->items[i].session == session) {
            close_at(table, engine, i);
            return;
        }
    }
}

uint32_t lensd_attachments_close_all(struct lensd_attachments *table, struct lensd_engine *engine,
                                     const struct lensd_connection *owner)
{
    uint32_t closed = 0;
    for (uint32_t i = table->n; i > 0; i--) {
        if (table->items[i - 1].owner == owner) {
            close_at(table, engine, i - 1);
            closed++;
        }
    }
    return closed;
}
