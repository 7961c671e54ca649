/* See http.h. We accept and wait ourselves and lend libmicrohttpd the thread: so descriptors, deadlines and the number
 * of connections are ours to bound. */
#include "daemon/http.h"

#include "daemon/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define IDLE_TIMEOUT_S   5 /* without a byte in either direction */
#define ACCEPTS_PER_TURN 16
#define SWEEP_MS         500                 /* between two looks for old connections */
#define FULL_PAUSE_NS    UINT64_C(200000000) /* without accepting, after descriptors ran out */

struct connection {
    int fd; /* libmicrohttpd's */
    uint64_t since_ns;
    bool doomed; /* shut down already */
};

struct lensd_http {
    int fd, stop; /* stop: an eventfd */
    int reserve;  /* given up for a moment to turn somebody away when descriptors run out */
    int epoll;    /* libmicrohttpd's */
    lensd_http_answer_fn *answer;
    void *arg;
    struct MHD_Daemon *mhd;
    pthread_t thread;
    uint64_t full_until_ns;
    uint32_t n, max;
    struct connection connections[LENSD_HTTP_CONNECTIONS]; /* oldest first */
};

/* ---- one request ------------------------------------------------------------------------------------------------ */

static const struct page {
    const char *path;
    enum lensd_http_page page;
} pages[] = {
    {"/", LENSD_HTTP_INDEX},
    {"/metrics", LENSD_HTTP_METRICS},
    {"/healthz", LENSD_HTTP_HEALTHZ},
    {"/readyz", LENSD_HTTP_READYZ},
};

static struct lensd_http_reply refusal(unsigned status, const char *text)
{
    return (struct lensd_http_reply){
        .status = status, .type = "text/plain; charset=utf-8", .text = text, .length = strlen(text)};
}

static bool has_body(struct MHD_Connection *connection)
{
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL ||
           (length != NULL && strspn(length, "0") != strlen(length));
}

static struct lensd_http_reply reply_to(const struct lensd_http *http, struct MHD_Connection *connection,
                                        const char *url, const char *method)
{
    struct lensd_http_reply reply = refusal(MHD_HTTP_NOT_FOUND, "no such page: / lists what there is\n");
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return refusal(MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD: nothing can be changed here\n");
    if (has_body(connection))
        return refusal(MHD_HTTP_BAD_REQUEST, "a request here has no body\n");
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++)
        if (strcmp(url, pages[i].path) == 0)
            http->answer(http->arg, pages[i].page, &reply);
    return reply;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **request)
{
    (void)version;
    (void)upload;
    (void)upload_size;
    (void)request;
    struct lensd_http_reply reply = reply_to(arg, connection, url, method);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(reply.length, (void *)reply.text, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply.type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (reply.status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result queued = MHD_queue_response(connection, reply.status, response);
    MHD_destroy_response(response);
    return queued;
}

/* ---- connections ------------------------------------------------------------------------------------------------ */

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct lensd_http *http = arg;
    (void)context;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == NULL)
        return;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        if (http->n < http->max)
            http->connections[http->n++] = (struct connection){info->connect_fd, lensd_now_ns(), false};
        return;
    }
    for (uint32_t i = 0; i < http->n; i++) {
        if (http->connections[i].fd != info->connect_fd)
            continue;
        http->n--;
        memmove(&http->connections[i], &http->connections[i + 1], (http->n - i) * sizeof http->connections[0]);
        return;
    }
}

/* libmicrohttpd finds the end of the stream and closes it. */
static void doom(struct connection *connection)
{
    if (!connection->doomed)
        shutdown(connection->fd, SHUT_RDWR);
    connection->doomed = true;
}

static void doom_old(struct lensd_http *http)
{
    uint64_t now = lensd_now_ns();
    for (uint32_t i = 0; i < http->n; i++)
        if (now - http->connections[i].since_ns >= LENSD_HTTP_OLD_NS)
            doom(&http->connections[i]);
}

/* Turns whoever waits away, so that the queue moves on, and looks again a little later. */
static void shed(struct lensd_http *http)
{
    if (http->reserve >= 0)
        close(http->reserve);
    int fd = accept4(http->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    http->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    http->full_until_ns = lensd_now_ns() + FULL_PAUSE_NS;
}

/* True when there may be more. */
static bool accept_one(struct lensd_http *http)
{
    struct sockaddr_storage peer = {0};
    if (http->n == http->max) {
        doom(&http->connections[0]);
        MHD_run(http->mhd);
    }
    if (http->n == http->max)
        return false;
    int fd = lensd_accept(http->fd);
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
        shed(http);
        return false;
    }
    if (fd < 0)
        return fd == -ECONNABORTED || fd == -EINTR;
    peer.ss_family = AF_UNIX; /* who it is doesn't matter here */
    (void)MHD_add_connection(http->mhd, fd, (const struct sockaddr *)&peer, sizeof(sa_family_t));
    return true;
}

static void accept_some(struct lensd_http *http)
{
    for (int i = 0; i < ACCEPTS_PER_TURN; i++)
        if (!accept_one(http))
            return;
}

/* ---- the thread ------------------------------------------------------------------------------------------------- */

/* Milliseconds until something must be looked at without an event; -1 = never. */
static int wait_ms(const struct lensd_http *http, bool full)
{
    MHD_UNSIGNED_LONG_LONG ms;
    int wait = http->n > 0 || full ? SWEEP_MS : -1;
    if (MHD_get_timeout(http->mhd, &ms) == MHD_YES && (wait < 0 || ms < (unsigned)wait))
        wait = (int)ms;
    return wait;
}

static void *serve(void *arg)
{
    struct lensd_http *http = arg;
    for (;;) {
        bool full = lensd_now_ns() < http->full_until_ns;
        struct pollfd polled[] = {
            {.fd = http->stop, .events = POLLIN},
            {.fd = http->epoll, .events = POLLIN},
            {.fd = full ? -1 : http->fd, .events = POLLIN},
        };
        (void)poll(polled, 3, wait_ms(http, full));
        if (polled[0].revents != 0)
            return NULL;
        if (polled[2].revents != 0)
            accept_some(http);
        MHD_run(http->mhd);
        doom_old(http);
    }
}

/* ---- start and stop --------------------------------------------------------------------------------------------- */

/* Sessions need descriptors, too: at most an eighth of them is for this. */
static uint32_t most_connections(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 8 >= LENSD_HTTP_CONNECTIONS)
        return LENSD_HTTP_CONNECTIONS;
    return limit.rlim_cur / 8 > 2 ? (uint32_t)(limit.rlim_cur / 8) : 2;
}

static void free_http(struct lensd_http *http)
{
    if (http->mhd != NULL)
        MHD_stop_daemon(http->mhd);
    if (http->stop >= 0)
        close(http->stop);
    if (http->reserve >= 0)
        close(http->reserve);
    close(http->fd);
    lensd_free(http);
}

static int open_mhd(struct lensd_http *http)
{
    http->mhd =
        MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, on_request, http,
                         MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_CONNECTION_LIMIT,
                         (unsigned)LENSD_HTTP_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)LENSD_HTTP_MEMORY, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        http->mhd != NULL ? MHD_get_daemon_info(http->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (info == NULL)
        return -ENOMEM;
    http->epoll = info->listen_fd;
    return 0;
}

static int open_descriptors(struct lensd_http *http)
{
    http->stop = lensd_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (http->stop < 0)
        return http->stop;
    http->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return http->reserve < 0 ? -errno : 0;
}

int lensd_http_start(int fd, lensd_http_answer_fn *answer, void *arg, struct lensd_http **out, struct lens_error *err)
{
    *out = NULL;
    struct lensd_http *http = lensd_calloc(1, sizeof *http);
    if (http == NULL) {
        close(fd);
        return lens_error_set(err, -ENOMEM, "no memory to serve metrics");
    }
    *http = (struct lensd_http){.fd = fd, .stop = -1, .reserve = -1, .answer = answer, .arg = arg};
    http->max = most_connections();
    int r = open_descriptors(http);
    if (r == 0)
        r = open_mhd(http);
    if (r == 0)
        r = lensd_thread_start(&http->thread, "lensd-http", serve, http);
    if (r != 0) {
        free_http(http);
        return lens_error_set(err, r, "can't serve metrics: %s", strerror(-r));
    }
    *out = http;
    return 0;
}

void lensd_http_stop(struct lensd_http *http)
{
    if (http == NULL)
        return;
    uint64_t one = 1;
    ssize_t n = write(http->stop, &one, sizeof one);
    (void)n;
    pthread_join(http->thread, NULL);
    free_http(http);
}
