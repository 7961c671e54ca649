/* See service_world.h. */
#include "tests/unit/support/service_world.h"

#include "proto/pack_writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define H1 8u
#define H2 4u

unsigned open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;
    while (dir != NULL && readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

/* Lens i's parent is (i-1)/4: a tree with families of four. */
void service_world_write_pack(const char *path, uint32_t lenses, uint32_t dim)
{
    struct lens_pack_writer *writer;
    struct lens_error err = {0};
    int32_t *parent = calloc(lenses, 4), *offsets = calloc(lenses + 1, 4), *ids = calloc(lenses, 4);
    int32_t *names_at = calloc(lenses + 1, 4);
    uint8_t *layer = calloc(lenses, 1);
    char *names = calloc(lenses, 16);
    float *w1 = calloc((size_t)H1 * dim, 4), w2[H1 * H2] = {0.5f}, b1[H1] = {0}, b2[H2] = {0}, w3[H2] = {1};
    for (uint32_t i = 0; i < lenses; i++) {
        parent[i] = i == 0 ? -1 : (int32_t)((i - 1) / 4);
        layer[i] = i == 0 ? 0 : (uint8_t)(layer[parent[i]] + 1);
        uint32_t first = 4 * i + 1, end = first + 4;
        first = first < lenses ? first : lenses;
        end = end < lenses ? end : lenses;
        offsets[i + 1] = offsets[i] + (int32_t)(end - first);
        for (uint32_t child = first; child < end; child++)
            ids[offsets[i] + (int32_t)(child - first)] = (int32_t)child;
        names_at[i + 1] = names_at[i] + sprintf(names + names_at[i], "Concept%05u", i);
    }
    for (uint32_t i = 0; i < H1 * dim; i++)
        w1[i] = (float)((int)(i * 7 % 23) - 11) / 64;
    struct lens_pack_plan plan = {.meta = {.model_id = "test", .tap_layer = "3", .tap_point = "after"},
                                  .lenses = lenses,
                                  .dim = dim,
                                  .h1 = H1,
                                  .h2 = H2,
                                  .w1_dtype = LENS_F32,
                                  .parent = parent,
                                  .child_offsets = offsets,
                                  .child_ids = ids,
                                  .layer = layer,
                                  .name_offsets = names_at,
                                  .names = names};
    if (lens_pack_writer_create(path, &plan, &writer, &err) != 0)
        fail_msg("%s", err.text);
    for (uint32_t i = 0; i < lenses; i++) {
        struct lens_weights weights = {.w1 = w1, .b1 = b1, .w2 = w2, .b2 = b2, .w3 = w3, .b3 = (float)i / 64};
        assert_int_equal(lens_pack_writer_add(writer, &weights, &err), 0);
    }
    assert_int_equal(lens_pack_writer_finish(writer, &err), 0);
    free(parent), free(offsets), free(ids), free(names_at), free(layer), free(names), free(w1);
}

static void set(struct service_world *w, const char *key, size_t length, const char *text)
{
    struct lens_error err = {0};
    int row = lensd_setting_find(key, length);
    if (row < 0 || lensd_settings_set(&w->settings, (uint32_t)row, text, LENSD_ORIGIN_FLAG, &err) != 0)
        fail_msg("%s: %s", key, err.text);
}

static void *serve(void *arg)
{
    struct service_world *w = arg;
    w->exit_code = lensd_service_run(w->service);
    return NULL;
}

static void forget(struct service_world *w)
{
    char command[128];
    lensd_settings_free(&w->settings);
    free(w->service);
    snprintf(command, sizeof command, "rm -rf '%s'", w->dir);
    assert_int_equal(system(command), 0);
    free(w);
}

struct service_world *service_world_try(const char *const *settings, struct lens_error *err)
{
    struct service_world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    strcpy(w->dir, "/tmp/lensd-unit-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->socket, sizeof w->socket, "%s/s", w->dir);
    snprintf(w->pack, sizeof w->pack, "%s/lenses.lens", w->dir);
    service_world_write_pack(w->pack, 200, 16);
    snprintf(w->config, sizeof w->config, "%s/lensd.conf", w->dir);
    w->arguments.config = w->config;
    w->arguments.packs[w->arguments.n_packs++] = w->pack;
    assert_int_equal(lensd_settings_init(&w->settings, err), 0);
    set(w, "ipc.socket", 10, w->socket);
    set(w, "engine.threads", 14, "1");
    set(w, "log.level", 9, "error");
    set(w, "http.listen", 11, "off");
    for (; settings != NULL && *settings != NULL; settings++)
        set(w, *settings, strcspn(*settings, "="), strchr(*settings, '=') + 1);
    w->fds_before = open_descriptors();
    w->service = aligned_alloc(_Alignof(struct lensd_service), sizeof *w->service);
    assert_non_null(w->service);
    if (lensd_service_open(w->service, &w->arguments, &w->settings, err) != 0) {
        assert_int_equal(open_descriptors(), w->fds_before);
        forget(w);
        return NULL;
    }
    assert_int_equal(pthread_create(&w->thread, NULL, serve, w), 0);
    return w;
}

struct service_world *service_world_open(const char *const *settings)
{
    struct lens_error err = {0};
    struct service_world *w = service_world_try(settings, &err);
    if (w == NULL)
        fail_msg("%s", err.text);
    return w;
}

void service_world_close(struct service_world *w)
{
    kill(getpid(), SIGTERM);
    pthread_join(w->thread, NULL);
    lensd_service_close(w->service);
    assert_int_equal(w->exit_code, 0);
    /* libuv keeps descriptors of its own for signals once it was used: they were there, or come once. */
    static unsigned kept_by_uv;
    unsigned left = open_descriptors() - w->fds_before;
    if (kept_by_uv == 0)
        kept_by_uv = left;
    else
        assert_int_equal(left, 0);
    assert_true(left <= 2);
    forget(w);
}

/* ---- clients ---------------------------------------------------------------------------------------------------- */

struct peer *peer_connect(const struct service_world *w)
{
    struct peer *peer = aligned_alloc(_Alignof(struct peer), sizeof *peer);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_non_null(peer);
    memset(peer, 0, sizeof *peer);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", w->socket);
    peer->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(peer->fd, (struct sockaddr *)&address, sizeof address), 0);
    struct timeval patience = {.tv_sec = 20};
    setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return peer;
}

static void close_received(struct peer *peer)
{
    for (unsigned i = 0; i < peer->n_fds; i++)
        close(peer->fds[i]);
    peer->n_fds = 0;
}

void peer_close(struct peer *peer)
{
    close_received(peer);
    close(peer->fd);
    free(peer);
}

struct lens_msg *peer_request(struct peer *peer, enum lens_msg_type type)
{
    memset(&peer->request, 0, sizeof peer->request);
    peer->request.type = type;
    peer->request.request_id = ++peer->next_id;
    return &peer->request;
}

void peer_send(struct peer *peer)
{
    int n = lens_msg_encode(&peer->request, peer->packet, LENS_REQUEST_MAX);
    assert_true(n > 0);
    assert_int_equal(send(peer->fd, peer->packet, (size_t)n, MSG_NOSIGNAL), n);
}

enum lens_msg_type peer_receive(struct peer *peer)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec part = {peer->packet, sizeof peer->packet};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct lens_error err = {0};
    close_received(peer);
    ssize_t n = recvmsg(peer->fd, &message, MSG_CMSG_CLOEXEC);
    if (n <= 0) {
        assert_true(n == 0 || errno == ECONNRESET);
        return (enum lens_msg_type)0;
    }
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_type == SCM_RIGHTS) {
        peer->n_fds = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(peer->fds, CMSG_DATA(header), peer->n_fds * sizeof(int));
    }
    if (lens_msg_decode(peer->packet, (size_t)n, LENS_ANSWER_MAX, &peer->answer, &err) != 0)
        fail_msg("%s", err.text);
    return peer->answer.type;
}

enum lens_msg_type peer_try(struct peer *peer)
{
    int n = lens_msg_encode(&peer->request, peer->packet, LENS_REQUEST_MAX);
    assert_true(n > 0);
    /* A dropped connection shows in what is received. */
    ssize_t sent = send(peer->fd, peer->packet, (size_t)n, MSG_NOSIGNAL);
    (void)sent;
    return peer_receive(peer);
}

enum lens_msg_type peer_ask(struct peer *peer)
{
    peer_send(peer);
    enum lens_msg_type type = peer_receive(peer);
    if (type != 0)
        assert_int_equal(peer->answer.request_id, peer->request.request_id);
    return type;
}

const char *peer_ask_refused(struct peer *peer, enum lens_fault fault)
{
    static char sentence[1024];
    assert_int_equal(peer_ask(peer), LENS_MSG_ERROR);
    const struct lens_fault_answer *answer = &peer->answer.u.fault;
    snprintf(sentence, sizeof sentence, "%.*s", (int)answer->text.length, answer->text.data);
    if (answer->code != fault)
        fail_msg("expected %s, found %s: %s", lens_fault_name(fault), lens_fault_name(answer->code), sentence);
    return sentence;
}

struct peer *peer_greet(const struct service_world *w)
{
    struct peer *peer = peer_connect(w);
    struct lens_hello *hello = &peer_request(peer, LENS_MSG_HELLO)->u.hello;
    hello->protocol_version = LENS_PROTOCOL_VERSION;
    hello->client_name = lens_text_of("tester");
    assert_int_equal(peer_ask(peer), LENS_MSG_HELLO_OK);
    return peer;
}

uint32_t peer_attach(struct peer *peer)
{
    peer_request(peer, LENS_MSG_ATTACH);
    assert_int_equal(peer_ask(peer), LENS_MSG_ATTACHED);
    assert_int_equal(peer->n_fds, 2);
    return peer->answer.u.attached.session;
}
