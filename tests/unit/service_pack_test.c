/* Packs through the control socket: lists, concepts, explanations; loading, swapping and unloading beside sessions;
 * and that a pack that isn't whole, or isn't where packs may be, never gets in. */
#include "tests/unit/support/service_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void assert_has(const char *sentence, const char *part)
{
    if (strstr(sentence, part) == NULL)
        fail_msg("\"%s\" doesn't say \"%s\"", sentence, part);
}

static void assert_text(struct lens_text text, const char *expected)
{
    assert_int_equal(text.length, strlen(expected));
    assert_memory_equal(text.data, expected, text.length);
}

/* A pack beside the first one; `name` gets its path. */
static void write_pack(const struct service_world *w, const char *file, uint32_t lenses, uint32_t dim, char path[128])
{
    snprintf(path, 128, "%s/%s", w->dir, file);
    service_world_write_pack(path, lenses, dim);
}

/* A byte in the middle of the weights changes: the structure is fine, a checksum isn't. */
static void damage(const char *path)
{
    int fd = open(path, O_RDWR);
    struct stat st;
    unsigned char byte;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(pread(fd, &byte, 1, 4096 + 100), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, 4096 + 100), 1);
    close(fd);
}

static struct lens_msg *ask_for(struct peer *peer, enum lens_msg_type type, const char *pack, const char *name)
{
    struct lens_msg *request = peer_request(peer, type);
    request->u.load.pack = lens_text_of(pack);
    request->u.load.name = lens_text_of(name);
    return request;
}

static const struct lens_pack_page *packs(struct peer *peer)
{
    peer_request(peer, LENS_MSG_PACKS);
    assert_int_equal(peer_ask(peer), LENS_MSG_PACK_PAGE);
    return &peer->answer.u.pack_page;
}

static void packs_are_listed_with_what_they_are(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    const struct lens_pack_page *page = packs(peer);
    assert_int_equal(page->total, 1);
    assert_int_equal(page->count, 1);
    assert_text(page->rows[0].name, "lenses");
    assert_text(page->rows[0].dtype, "f32");
    assert_text(page->rows[0].compute, "exact");
    assert_int_equal(page->rows[0].lenses, 200);
    assert_int_equal(page->rows[0].slots, 200);
    assert_int_equal(page->rows[0].resident, 200);
    assert_int_equal(page->rows[0].generation, 1);
    assert_true(page->rows[0].policy.length > 0);
    assert_int_equal(page->rows[0].lens_bytes, (uint64_t)page->rows[0].h1 * page->rows[0].dim * 4);
    assert_true(page->rows[0].slot_bytes >= page->rows[0].lens_bytes);
    assert_int_equal(page->rows[0].host_resident, 0);
    peer_request(peer, LENS_MSG_PACKS)->u.page.first = UINT32_MAX;
    assert_int_equal(peer_ask(peer), LENS_MSG_PACK_PAGE);
    assert_int_equal(peer->answer.u.pack_page.count, 0);
    peer_close(peer);
    service_world_close(w);
}

/* Every concept a glob names, by paging as clients do; returns how many, and how many pages it took. */
static uint32_t count_concepts(struct peer *peer, const char *glob, unsigned *pages)
{
    uint32_t first = 0, found = 0;
    *pages = 0;
    do {
        struct lens_concepts *asked = &peer_request(peer, LENS_MSG_CONCEPTS)->u.concepts;
        asked->glob = lens_text_of(glob);
        asked->first = first;
        assert_int_equal(peer_ask(peer), LENS_MSG_CONCEPT_PAGE);
        const struct lens_concept_page *page = &peer->answer.u.concept_page;
        assert_true(page->next > first);
        for (uint32_t i = 0; i < page->count; i++)
            assert_true(page->rows[i].id >= first && page->rows[i].id < page->next);
        found += page->count;
        first = page->next;
        ++*pages;
    } while (first < 200);
    return found;
}

static void concepts_come_page_by_page(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    unsigned pages;
    assert_int_equal(count_concepts(peer, "", &pages), 200);
    assert_int_equal(pages, 4);
    assert_int_equal(count_concepts(peer, "*:1", &pages), 4);
    assert_int_equal(pages, 1);
    assert_int_equal(count_concepts(peer, "Concept0000[0-4]:*", &pages), 5);
    assert_int_equal(count_concepts(peer, "nothing", &pages), 0);
    peer_request(peer, LENS_MSG_CONCEPTS)->u.concepts.pack = lens_text_of("none");
    peer_ask_refused(peer, LENS_FAULT_NO_SUCH_PACK);
    peer_close(peer);
    service_world_close(w);
}

static void a_concept_is_explained_by_key_name_or_number(void **state)
{
    (void)state;
    static const char *const asked[] = {"Concept00005:2", "Concept00005", "5"};
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    for (size_t i = 0; i < 3; i++) {
        peer_request(peer, LENS_MSG_EXPLAIN)->u.explain.concept = lens_text_of(asked[i]);
        assert_int_equal(peer_ask(peer), LENS_MSG_EXPLANATION);
        const struct lens_explanation *e = &peer->answer.u.explanation;
        assert_int_equal(e->id, 5);
        assert_text(e->key, "Concept00005:2");
        assert_int_equal(e->n_path, 3);
        assert_int_equal(e->path[0], 0);
        assert_text(e->path_keys[1], "Concept00001:1");
        assert_int_equal(e->path[2], 5);
        assert_int_equal(e->n_children, 4);
        assert_int_equal(e->count, 4);
        assert_text(e->child_keys[3], "Concept00024:3");
        assert_int_equal(e->resident, 1);
        assert_int_equal(e->calibrated, 0);
    }
    peer_request(peer, LENS_MSG_EXPLAIN)->u.explain.concept = lens_text_of("200");
    peer_ask_refused(peer, LENS_FAULT_NO_SUCH_CONCEPT);
    peer_request(peer, LENS_MSG_EXPLAIN)->u.explain.concept = lens_text_of("Nobody:1");
    assert_has(peer_ask_refused(peer, LENS_FAULT_NO_SUCH_CONCEPT), "Nobody:1");
    peer_close(peer);
    service_world_close(w);
}

static void packs_are_loaded_and_unloaded(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    char path[128];
    write_pack(w, "second.lens", 30, 8, path);
    ask_for(peer, LENS_MSG_LOAD, path, "");
    assert_int_equal(peer_ask(peer), LENS_MSG_DONE);
    assert_int_equal(peer->answer.u.done.generation, 2);
    ask_for(peer, LENS_MSG_LOAD, "second.lens", "third"); /* relative to the pack directories */
    assert_int_equal(peer_ask(peer), LENS_MSG_DONE);
    assert_int_equal(packs(peer)->total, 3);
    assert_text(peer->answer.u.pack_page.rows[2].name, "third");
    ask_for(peer, LENS_MSG_LOAD, path, "");
    peer_ask_refused(peer, LENS_FAULT_IN_USE);
    ask_for(peer, LENS_MSG_LOAD, path, "lenses");
    peer_ask_refused(peer, LENS_FAULT_IN_USE);
    ask_for(peer, LENS_MSG_UNLOAD, "second", "");
    assert_int_equal(peer_ask(peer), LENS_MSG_DONE);
    ask_for(peer, LENS_MSG_UNLOAD, "second", "");
    peer_ask_refused(peer, LENS_FAULT_NO_SUCH_PACK);
    assert_int_equal(packs(peer)->total, 2);
    peer_close(peer);
    service_world_close(w);
}

static void a_pack_in_use_is_not_unloaded(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    uint32_t session = peer_attach(peer);
    ask_for(peer, LENS_MSG_UNLOAD, "lenses", "");
    assert_has(peer_ask_refused(peer, LENS_FAULT_IN_USE), "1 sessions");
    peer_request(peer, LENS_MSG_DETACH)->u.detach.session = session;
    assert_int_equal(peer_ask(peer), LENS_MSG_DONE);
    ask_for(peer, LENS_MSG_UNLOAD, "lenses", "");
    assert_int_equal(peer_ask(peer), LENS_MSG_DONE);
    peer_request(peer, LENS_MSG_ATTACH);
    assert_has(peer_ask_refused(peer, LENS_FAULT_NO_SUCH_PACK), "no pack is loaded");
    peer_close(peer);
    service_world_close(w);
}

static void a_swap_moves_the_sessions(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    char path[128];
    peer_attach(peer);
    peer_attach(peer);
    write_pack(w, "next.lens", 300, 16, path);
    ask_for(peer, LENS_MSG_SWAP, path, "");
    assert_int_equal(peer_ask(peer), LENS_MSG_DONE);
    const struct lens_pack_page *page = packs(peer);
    assert_int_equal(page->total, 1);
    assert_text(page->rows[0].name, "lenses");
    assert_int_equal(page->rows[0].lenses, 300);
    assert_int_equal(page->rows[0].sessions, 2);
    assert_int_equal(page->rows[0].generation, 2);
    peer_close(peer);
    service_world_close(w);
}

static void a_swap_that_does_not_fit_the_sessions_is_refused(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    char path[128];
    peer_attach(peer);
    write_pack(w, "wide.lens", 30, 32, path);
    ask_for(peer, LENS_MSG_SWAP, path, "lenses");
    assert_has(peer_ask_refused(peer, LENS_FAULT_BAD_PACK), "keeps its place");
    assert_int_equal(packs(peer)->rows[0].lenses, 200);
    assert_int_equal(peer->answer.u.pack_page.rows[0].sessions, 1);
    ask_for(peer, LENS_MSG_SWAP, path, "nobody");
    peer_ask_refused(peer, LENS_FAULT_NO_SUCH_PACK);
    peer_close(peer);
    service_world_close(w);
}

static void a_bad_pack_never_gets_in(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    char path[128];
    write_pack(w, "bad.lens", 200, 16, path);
    damage(path);
    ask_for(peer, LENS_MSG_SWAP, path, "");
    peer_ask_refused(peer, LENS_FAULT_BAD_PACK);
    ask_for(peer, LENS_MSG_LOAD, path, "");
    peer_ask_refused(peer, LENS_FAULT_BAD_PACK);
    assert_int_equal(truncate(path, 5000), 0);
    ask_for(peer, LENS_MSG_LOAD, path, "");
    peer_ask_refused(peer, LENS_FAULT_BAD_PACK);
    ask_for(peer, LENS_MSG_LOAD, "missing.lens", "");
    peer_ask_refused(peer, LENS_FAULT_BAD_PACK);
    assert_int_equal(packs(peer)->total, 1);
    assert_int_equal(peer->answer.u.pack_page.rows[0].generation, 1);
    peer_attach(peer);
    peer_close(peer);
    service_world_close(w);
}

static void packs_outside_their_directories_are_refused(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    char link[128], climbing[160];
    ask_for(peer, LENS_MSG_LOAD, "/etc/passwd", "");
    assert_has(peer_ask_refused(peer, LENS_FAULT_PATH_NOT_ALLOWED), "/etc/passwd");
    snprintf(climbing, sizeof climbing, "%s/../../etc/passwd", w->dir);
    ask_for(peer, LENS_MSG_LOAD, climbing, "");
    peer_ask_refused(peer, LENS_FAULT_PATH_NOT_ALLOWED);
    snprintf(link, sizeof link, "%s/link.lens", w->dir);
    assert_int_equal(symlink("/etc/passwd", link), 0);
    ask_for(peer, LENS_MSG_LOAD, link, "");
    peer_ask_refused(peer, LENS_FAULT_PATH_NOT_ALLOWED);
    ask_for(peer, LENS_MSG_LOAD, "link.lens", "");
    peer_ask_refused(peer, LENS_FAULT_PATH_NOT_ALLOWED);
    peer_close(peer);
    service_world_close(w);
}

static void a_load_goes_on_when_its_asker_is_gone(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *asker = peer_greet(w), *other = peer_greet(w);
    char path[128];
    write_pack(w, "big.lens", 20000, 64, path);
    ask_for(asker, LENS_MSG_LOAD, path, "");
    peer_send(asker);
    ask_for(other, LENS_MSG_LOAD, path, "again");
    assert_int_equal(peer_ask(other), LENS_MSG_ERROR); /* one at a time */
    assert_int_equal(other->answer.u.fault.code, LENS_FAULT_IN_USE);
    peer_close(asker);
    uint32_t total = 1;
    for (int i = 0; i < 2000 && total < 2; i++) {
        total = packs(other)->total;
        usleep(5000);
    }
    assert_int_equal(total, 2);
    peer_close(other);
    service_world_close(w);
}

static void stopping_in_the_middle_of_a_load_is_clean(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    char path[128];
    write_pack(w, "big.lens", 20000, 64, path);
    ask_for(peer, LENS_MSG_SWAP, path, "");
    peer_send(peer);
    usleep(3000);
    peer_close(peer);
    service_world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_are_listed_with_what_they_are),
        cmocka_unit_test(concepts_come_page_by_page),
        cmocka_unit_test(a_concept_is_explained_by_key_name_or_number),
        cmocka_unit_test(packs_are_loaded_and_unloaded),
        cmocka_unit_test(a_pack_in_use_is_not_unloaded),
        cmocka_unit_test(a_swap_moves_the_sessions),
        cmocka_unit_test(a_swap_that_does_not_fit_the_sessions_is_refused),
        cmocka_unit_test(a_bad_pack_never_gets_in),
        cmocka_unit_test(packs_outside_their_directories_are_refused),
        cmocka_unit_test(a_load_goes_on_when_its_asker_is_gone),
        cmocka_unit_test(stopping_in_the_middle_of_a_load_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
