/* Names of lenses, fetched from the daemon a page at a time and kept. The one part of liblens that allocates after a
 * session was opened. A swapped pack has another generation: its names replace the old ones. */
#include "client/liblens/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lens_concepts_clear(struct lens_concept_cache *cache)
{
    for (uint32_t i = 0; i < cache->count; i++)
        free(cache->names[i]);
    free(cache->names);
    *cache = (struct lens_concept_cache){0};
}

/* Room for ids 0..id. */
static int grow(struct lens_concept_cache *cache, uint32_t id)
{
    if (id < cache->count)
        return 0;
    uint32_t count = id + 1 > 2 * cache->count ? id + 1 : 2 * cache->count;
    char **names = realloc(cache->names, count * sizeof *names);
    if (names == NULL)
        return -ENOMEM;
    memset(names + cache->count, 0, (count - cache->count) * sizeof *names);
    cache->names = names;
    cache->count = count;
    return 0;
}

static int keep_name(struct lens_concept_cache *cache, const struct lens_concept_row *row)
{
    enum { LAYER_TEXT = sizeof ":255" };
    if (row->id == UINT32_MAX || grow(cache, row->id) != 0)
        return -ENOMEM;
    if (cache->names[row->id] != NULL)
        return 0;
    size_t size = row->name.length + LAYER_TEXT;
    char *name = malloc(size);
    if (name == NULL)
        return -ENOMEM;
    snprintf(name, size, "%.*s:%u", (int)row->name.length, row->name.data, row->layer);
    cache->names[row->id] = name;
    return 0;
}

/* The page that starts at `id`. Ids far beyond the pack's lenses are not the cache's to hold. */
static int fetch(struct lens_session *session, uint32_t id, struct lens_client_error *err)
{
    struct lens_msg *m = &session->client->scratch;
    m->type = LENS_MSG_CONCEPTS;
    m->u.concepts = (struct lens_concepts){.pack = lens_text_of(session->pack), .glob = lens_text_of(""), .first = id};
    int r = lens_client_call(session->client, m, m, NULL, lens_now_ns() + LENS_ANSWER_TIMEOUT_NS, err);
    if (r != 0)
        return r;
    const struct lens_concept_page *page = &m->u.concept_page;
    if (m->type != LENS_MSG_CONCEPT_PAGE)
        return lens_fail(err, -EPROTO, "lensd answered %s to concepts", lens_msg_name(m->type));
    if (page->generation != session->concepts.generation && session->held)
        return lens_fail(err, -ESTALE, "the answer is of generation %u of pack %s; lensd knows the names of %u alone",
                         session->generation, session->pack, page->generation);
    if (page->generation != session->concepts.generation) {
        lens_concepts_clear(&session->concepts);
        session->concepts.generation = session->generation = page->generation;
    }
    for (uint32_t i = 0; i < page->count; i++) {
        if (page->rows[i].id - id < LENS_PAGE_ROWS && keep_name(&session->concepts, &page->rows[i]) != 0)
            return lens_fail(err, -ENOMEM, "no memory for the names of concepts");
    }
    return 0;
}

static const char *cached(const struct lens_concept_cache *cache, uint32_t id)
{
    return id < cache->count ? cache->names[id] : NULL;
}

const char *lens_session_concept(struct lens_session *session, uint32_t id, struct lens_client_error *err)
{
    if (session->concepts.generation != session->generation) {
        lens_concepts_clear(&session->concepts);
        session->concepts.generation = session->generation;
    }
    const char *name = cached(&session->concepts, id);
    if (name != NULL)
        return name;
    int r = lens_session_ready(session);
    if (r != 0) {
        lens_fail(err, r, "the connection to lensd was lost");
        return NULL;
    }
    if (fetch(session, id, err) != 0)
        return NULL;
    name = cached(&session->concepts, id);
    if (name == NULL)
        lens_fail(err, -ENOENT, "pack %s has no lens %u", session->pack, id);
    return name;
}
