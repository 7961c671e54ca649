/* See fake_daemon.h. */
#include "tests/unit/support/fake_daemon.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void send_packet(int fd, const void *bytes, size_t length, const int *fds, size_t n_fds)
{
    _Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(8 * sizeof(int))] = {0};
    struct iovec piece = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (n_fds > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void send_msg(struct fake_daemon *d, int fd, const int *fds, size_t n_fds)
{
    int n = lens_msg_encode(&d->msg, d->packet, sizeof d->packet);
    assert(n > 0);
    send_packet(fd, d->packet, (size_t)n, fds, n_fds);
}

/* ---- sessions --------------------------------------------------------------------------------------------------- */

static void close_session(struct fake_session *s)
{
    if (s->id == 0)
        return;
    munmap(s->memory, s->ring.layout.total_bytes);
    close(s->memfd);
    close(s->doorbell);
    memset(s, 0, sizeof *s);
}

static void open_session(struct fake_daemon *d, struct fake_session *s, int connection)
{
    const struct lens_attach *a = &d->attach;
    struct lens_ring_layout l = {.dim = FAKE_DIM,
                                 .max_rows = a->max_rows,
                                 .top_k = a->options.top_k,
                                 .expanded_capacity = 8,
                                 .submit_slots = a->submit_slots,
                                 .result_slots = a->result_slots};
    int r = lens_ring_layout_init(&l, 1 << 26);
    assert(r == 0);
    s->memfd = memfd_create("fake", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    r = ftruncate(s->memfd, (off_t)l.total_bytes);
    assert(r == 0);
    s->memory = mmap(NULL, l.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, s->memfd, 0);
    assert(s->memory != MAP_FAILED);
    lens_ring_server_init(&s->ring, &l, s->memory);
    lens_ring_server_set_sleeping(&s->ring, true);
    if (!d->faults.unsealed)
        fcntl(s->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    s->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    s->connection = connection;
    s->id = ++d->next_session;
    (void)r;
}

static void keep_patterns(struct fake_daemon *d, const char *name, const struct lens_text *patterns, uint32_t n)
{
    size_t used = strlen(d->patterns), size = sizeof d->patterns;
    used += (size_t)snprintf(d->patterns + used, size - used, "%s", name);
    for (uint32_t i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(d->patterns + used, size - used, " %.*s", (int)patterns[i].length, patterns[i].data);
}

static void keep_attach(struct fake_daemon *d)
{
    d->attach = d->msg.u.attach;
    snprintf(d->pack, sizeof d->pack, "%.*s", (int)d->attach.pack.length, d->attach.pack.data);
    snprintf(d->label, sizeof d->label, "%.*s", (int)d->attach.label.length, d->attach.label.data);
    d->patterns[0] = '\0';
    keep_patterns(d, "include", d->attach.include, d->attach.n_include);
    keep_patterns(d, " exclude", d->attach.exclude, d->attach.n_exclude);
    keep_patterns(d, " filter", d->attach.filter, d->attach.n_filter);
}

static void answer_fault(struct fake_daemon *d, enum lens_fault code, const char *text)
{
    d->msg.type = LENS_MSG_ERROR;
    d->msg.u.fault = (struct lens_fault_answer){.code = code, .text = lens_text_of(text)};
}

static void attach(struct fake_daemon *d, int fd)
{
    struct fake_session *s = d->sessions;
    keep_attach(d);
    while (s < d->sessions + FAKE_SESSIONS && s->id != 0)
        s++;
    if (d->faults.refuse_attach || s == d->sessions + FAKE_SESSIONS) {
        answer_fault(d, LENS_FAULT_NO_SPACE, "no room for another session");
        send_msg(d, fd, NULL, 0);
        return;
    }
    open_session(d, s, fd);
    int fds[3] = {s->memfd, s->doorbell, s->doorbell};
    size_t n_fds = d->faults.no_fds ? 0 : d->faults.many_fds ? 3 : 2;
    d->msg.type = LENS_MSG_ATTACHED;
    d->msg.u.attached = (struct lens_attached){.session = s->id,
                                               .generation = d->generation,
                                               .lenses = FAKE_LENSES,
                                               .layout = s->ring.layout,
                                               .options = d->attach.options,
                                               .pack = lens_text_of("fake-pack"),
                                               .model_id = lens_text_of("fake/model"),
                                               .tap_layer = lens_text_of("17"),
                                               .tap_point = lens_text_of("after")};
    if (d->faults.wrong_layout)
        d->msg.u.attached.layout.result_offset += 64;
    if (d->faults.short_memory)
        d->msg.u.attached.layout.total_bytes *= 2;
    send_msg(d, fd, fds, n_fds);
}

static void serve_rows(struct fake_daemon *d, struct fake_session *s)
{
    struct lens_submit_descriptor desc;
    while (!d->faults.hold && lens_ring_server_take(&s->ring, &desc) == 1) {
        const unsigned char *rows = lens_ring_server_rows(&s->ring, &desc);
        const int32_t *tokens = lens_ring_server_token_ids(&s->ring, &desc);
        size_t row_bytes = FAKE_DIM * (desc.dtype == 0 ? 4u : 2u);
        for (uint32_t row = 0; row < desc.rows; row++) {
            struct lens_result result;
            if (!lens_ring_server_reserve(&s->ring, &result))
                continue;
            *result.header = (struct lens_result_header){.sequence = desc.sequence,
                                                         .tag = desc.tag,
                                                         .position = desc.first_position + row,
                                                         .serial = desc.serial,
                                                         .row = row,
                                                         .rows = desc.rows,
                                                         .token_id = tokens ? tokens[row] : -1,
                                                         .status = LENS_ROW_PARTIAL,
                                                         .reason = 0,
                                                         .flags = LENS_ROW_STALE,
                                                         .verdict = 9,
                                                         .verdict_rule = 10,
                                                         .pack_generation = d->generation,
                                                         .expanded_stored = 1,
                                                         .detections = 1,
                                                         .counts = {1, 2, 3, 4, 5, 6, 7, 0},
                                                         .timing = {11, 12, 13, 14, 15, 16, 17, 18}};
            result.expanded[0] = desc.serial;
            result.detections[0] = (struct lens_detection){rows[row * row_bytes], 0.5f, 0.25f, -2.0f};
            lens_ring_server_publish(&s->ring);
            d->served++;
        }
        lens_ring_server_release(&s->ring, 1);
    }
}

static void wake_client(struct fake_daemon *d, struct fake_session *s)
{
    enum lens_client_sleep how;
    struct lens_shm_header *h = s->memory;
    if (!lens_ring_server_wake_due(&s->ring, &how))
        return;
    if (how == LENS_CLIENT_ON_FUTEX) {
        syscall(SYS_futex, &h->result_futex, FUTEX_WAKE, 1, NULL, NULL, 0);
        return;
    }
    d->msg.type = LENS_MSG_RESULTS_READY;
    d->msg.request_id = 0;
    d->msg.u.results_ready.session = s->id;
    send_msg(d, s->connection, NULL, 0);
}

static void serve_session(struct fake_daemon *d, struct fake_session *s)
{
    uint64_t rings;
    int before = d->served;
    if (s->id == 0 || !lens_ring_server_pending(&s->ring) || d->faults.hold)
        return;
    struct timespec delay = {.tv_nsec = d->faults.delay_ms * 1000000L};
    nanosleep(&delay, NULL);
    if (read(s->doorbell, &rings, sizeof rings) < 0)
        rings = 0;
    serve_rows(d, s);
    if (d->served != before)
        wake_client(d, s);
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

static void answer_concepts(struct fake_daemon *d)
{
    static char names[LENS_PAGE_ROWS][16];
    struct lens_concept_page *page = &d->msg.u.concept_page;
    uint32_t first = d->msg.u.concepts.first, n = 0;
    d->concept_pages++;
    for (; n < 40 && first + n < FAKE_LENSES; n++) {
        snprintf(names[n], sizeof names[n], "Lens%u.%u", first + n, d->generation);
        page->rows[n] = (struct lens_concept_row){
            .id = first + n, .parent = -1, .layer = (uint8_t)((first + n) % 3), .name = lens_text_of(names[n])};
    }
    d->msg.type = LENS_MSG_CONCEPT_PAGE;
    page->generation = d->generation;
    page->next = first + n;
    page->count = n;
}

static void fill_events(struct lens_event_page *page, uint64_t from, uint64_t end)
{
    static char keys[LENS_PAGE_ROWS][24];
    uint32_t n = 0;
    for (; n < 10 && from < end; n++, from++) {
        uint32_t id = (uint32_t)(from % FAKE_LENSES);
        snprintf(keys[n], sizeof keys[n], "Lens%u:1", id);
        page->rows[n] = (struct lens_event_row){.number = from,
                                                .session = 7,
                                                .position = from,
                                                .generation = 3,
                                                .token_id = -1,
                                                .n_detections = 1,
                                                .first_detection = n,
                                                .stored_detections = 1};
        page->detections[n] = (struct lens_detection){id, 0.5f, 0.25f, -1.0f};
        page->concepts[n] = (struct lens_event_concept){3, id, lens_text_of(keys[n])};
    }
    page->count = page->n_detections = page->n_concepts = n;
    page->next = from;
}

static void answer_events(struct fake_daemon *d)
{
    uint64_t from = d->msg.u.events.from, first = d->event_first, end = d->event_end;
    struct lens_event_page *page = &d->msg.u.event_page;
    d->event_pages++;
    from = from == LENS_EVENTS_NOW ? end : from;
    if (from > end) {
        answer_fault(d, LENS_FAULT_BAD_MESSAGE, "still to come");
        return;
    }
    d->msg.type = LENS_MSG_EVENT_PAGE;
    memset(page, 0, sizeof *page);
    page->end = end;
    page->lost = from != 0 && from < first ? first - from : 0;
    fill_events(page, from > first ? from : first, end);
}

static struct fake_session *session_of(struct fake_daemon *d, uint32_t id)
{
    for (struct fake_session *s = d->sessions; s < d->sessions + FAKE_SESSIONS; s++) {
        if (s->id == id && id != 0)
            return s;
    }
    return NULL;
}

static void send_notices(struct fake_daemon *d, int fd)
{
    struct lens_msg *notice = &d->msg;
    uint64_t id = notice->request_id;
    static struct lens_msg kept;
    kept = *notice;
    notice->type = LENS_MSG_RESULTS_READY;
    notice->request_id = 0;
    notice->u.results_ready.session = 1;
    send_msg(d, fd, NULL, 0);
    notice->type = LENS_MSG_GOODBYE;
    notice->u.goodbye = (struct lens_goodbye){.session = 4000000, .text = lens_text_of("not yours")};
    send_msg(d, fd, NULL, 0);
    *notice = kept;
    notice->request_id = id;
}

static void answer_request(struct fake_daemon *d, int fd)
{
    struct fake_session *s;
    switch (d->msg.type) {
    case LENS_MSG_HELLO:
        d->msg.type = LENS_MSG_HELLO_OK;
        d->msg.u.hello_ok = (struct lens_hello_ok){.protocol_version = LENS_PROTOCOL_VERSION,
                                                   .daemon_version = lens_text_of("fake-1"),
                                                   .role = LENS_PEER_OPERATOR,
                                                   .daemon_pid = 77,
                                                   .start_time_ns = d->start_time_ns};
        break;
    case LENS_MSG_ATTACH:
        attach(d, fd);
        return;
    case LENS_MSG_DETACH:
    case LENS_MSG_END_SEQUENCE:
        s = session_of(d, d->msg.u.detach.session);
        d->ended += d->msg.type == LENS_MSG_END_SEQUENCE;
        d->detached += d->msg.type == LENS_MSG_DETACH;
        if (s == NULL) {
            answer_fault(d, LENS_FAULT_NO_SUCH_SESSION, "no such session");
        } else {
            if (d->msg.type == LENS_MSG_DETACH)
                close_session(s);
            d->msg.type = LENS_MSG_DONE;
            d->msg.u.done = (struct lens_done){.text = lens_text_of("done"), .generation = 1};
        }
        break;
    case LENS_MSG_CONCEPTS:
        answer_concepts(d);
        break;
    case LENS_MSG_EVENTS:
        answer_events(d);
        break;
    default:
        answer_fault(d, LENS_FAULT_UNSUPPORTED, "the fake can't do that");
    }
    send_msg(d, fd, NULL, 0);
}

static void drop_connection(struct fake_daemon *d, int *fd)
{
    for (struct fake_session *s = d->sessions; s < d->sessions + FAKE_SESSIONS; s++) {
        if (s->connection == *fd)
            close_session(s);
    }
    close(*fd);
    *fd = -1;
}

static void serve_connection(struct fake_daemon *d, int *fd)
{
    struct lens_error err;
    static _Alignas(8) unsigned char request[LENS_REQUEST_MAX];
    ssize_t n = recv(*fd, request, sizeof request, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || lens_msg_decode(request, (size_t)n, LENS_REQUEST_MAX, &d->msg, &err) != 0) {
        drop_connection(d, fd);
        return;
    }
    if (d->faults.silent)
        return;
    if (d->faults.garbage) {
        send_packet(*fd, "garbage!garbage!", 16, NULL, 0);
        return;
    }
    if (d->faults.chatty)
        send_notices(d, *fd);
    d->msg.request_id += d->faults.wrong_id;
    answer_request(d, *fd);
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static void accept_one(struct fake_daemon *d)
{
    int fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    d->accepted++;
    for (int i = 0; i < FAKE_CONNECTIONS; i++) {
        if (d->connections[i] < 0) {
            d->connections[i] = fd;
            return;
        }
    }
    close(fd);
}

static void say_goodbye(struct fake_daemon *d)
{
    int id = atomic_exchange(&d->say_goodbye_to, 0);
    for (int i = 0; id != 0 && i < FAKE_CONNECTIONS; i++) {
        d->msg.type = LENS_MSG_GOODBYE;
        d->msg.request_id = 0;
        d->msg.u.goodbye =
            (struct lens_goodbye){.session = id < 0 ? 0 : (uint32_t)id, .text = lens_text_of("going for lunch")};
        if (d->connections[i] >= 0)
            send_msg(d, d->connections[i], NULL, 0);
    }
}

static void *serve(void *context)
{
    struct fake_daemon *d = context;
    for (;;) {
        struct pollfd fds[2 + FAKE_CONNECTIONS] = {{.fd = d->stop, .events = POLLIN},
                                                   {.fd = d->listener, .events = POLLIN}};
        for (int i = 0; i < FAKE_CONNECTIONS; i++)
            fds[2 + i] = (struct pollfd){.fd = d->connections[i], .events = POLLIN};
        poll(fds, 2 + FAKE_CONNECTIONS, 1); /* the doorbells are looked at every millisecond */
        if (fds[0].revents != 0)
            return NULL;
        if (fds[1].revents != 0)
            accept_one(d);
        say_goodbye(d);
        for (int i = 0; i < FAKE_CONNECTIONS; i++) {
            if (d->connections[i] >= 0)
                serve_connection(d, &d->connections[i]);
        }
        for (int i = 0; i < FAKE_SESSIONS; i++)
            serve_session(d, &d->sessions[i]);
    }
}

void fake_daemon_start(struct fake_daemon *d, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memset(d, 0, sizeof *d);
    snprintf(d->path, sizeof d->path, "%s", path);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    unlink(path);
    d->generation = 1;
    d->next_session = 100;
    d->event_first = d->event_end = 1;
    d->start_time_ns = 88;
    for (int i = 0; i < FAKE_CONNECTIONS; i++)
        d->connections[i] = -1;
    d->stop = eventfd(0, EFD_CLOEXEC);
    d->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = bind(d->listener, (struct sockaddr *)&address, sizeof address);
    assert(r == 0);
    r = listen(d->listener, 8);
    assert(r == 0);
    r = pthread_create(&d->thread, NULL, serve, d);
    assert(r == 0);
    (void)r;
}

void fake_daemon_stop(struct fake_daemon *d)
{
    const uint64_t one = 1;
    ssize_t n = write(d->stop, &one, sizeof one);
    assert(n == sizeof one);
    (void)n;
    pthread_join(d->thread, NULL);
    for (int i = 0; i < FAKE_CONNECTIONS; i++) {
        if (d->connections[i] >= 0)
            drop_connection(d, &d->connections[i]);
    }
    close(d->listener);
    close(d->stop);
}
