/* See http_address.h. */
#include "daemon/http_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128
#define SHAPES                                                                                                         \
    "off, HOST:PORT with a loopback address (127.0.0.1:9477, [::1]:9477, localhost:9477) or unix:/path/socket"

/* ---- what the text means ---------------------------------------------------------------------------------------- */

static int parse_unix(const char *path, struct lensd_http_address *out, struct lens_error *err)
{
    struct sockaddr_un *address = (struct sockaddr_un *)&out->address;
    size_t length = strlen(path);
    if (path[0] != '/')
        return lens_error_set(err, -EINVAL, "expected an absolute path after unix:, found \"%s\"", path);
    if (length >= sizeof address->sun_path)
        return lens_error_set(err, -EINVAL, "the socket's path has %zu bytes; a socket's may have %zu at most", length,
                              sizeof address->sun_path - 1);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, length + 1);
    out->size = sizeof *address;
    return 0;
}

static int parse_port(const char *text, in_port_t *out, struct lens_error *err)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || port > UINT16_MAX)
        return lens_error_set(err, -EINVAL, "expected a port of 0 to 65535, found \"%s\"", text);
    *out = htons((uint16_t)port);
    return 0;
}

static int refuse_host(const char *host, struct lens_error *err)
{
    return lens_error_set(err, -EINVAL,
                          "\"%s\" is not a loopback address, and metrics are served to this machine only: use "
                          "127.0.0.1, [::1] or localhost, or unix:/path/socket, and a proxy for others",
                          host);
}

/* Fills the address of a host without brackets; names but localhost aren't looked up. */
static int parse_host(const char *host, bool bracketed, in_port_t port, struct lensd_http_address *out,
                      struct lens_error *err)
{
    struct sockaddr_in *four = (struct sockaddr_in *)&out->address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&out->address;
    if (bracketed) {
        if (inet_pton(AF_INET6, host, &six->sin6_addr) != 1 || !IN6_IS_ADDR_LOOPBACK(&six->sin6_addr))
            return refuse_host(host, err);
        six->sin6_family = AF_INET6;
        six->sin6_port = port;
        out->size = sizeof *six;
        return 0;
    }
    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &four->sin_addr) != 1 ||
        ntohl(four->sin_addr.s_addr) >> 24 != 127)
        return refuse_host(host, err);
    four->sin_family = AF_INET;
    four->sin_port = port;
    out->size = sizeof *four;
    return 0;
}

int lensd_http_address_parse(const char *text, struct lensd_http_address *out, struct lens_error *err)
{
    char host[128];
    in_port_t port = 0;
    memset(out, 0, sizeof *out);
    out->off = strcmp(text, "off") == 0;
    if (out->off)
        return 0;
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, out, err);
    const char *colon = strrchr(text, ':');
    size_t length = colon != NULL ? (size_t)(colon - text) : 0;
    if (length == 0 || length >= sizeof host)
        return lens_error_set(err, -EINVAL, "expected " SHAPES ", found \"%s\"", text);
    bool bracketed = text[0] == '[' && text[length - 1] == ']';
    memcpy(host, text + bracketed, length - 2u * bracketed);
    host[length - 2u * bracketed] = '\0';
    int r = parse_host(host, bracketed, 0, out, err);
    if (r == 0)
        r = parse_port(colon + 1, &port, err);
    return r == 0 ? parse_host(host, bracketed, port, out, err) : r;
}

bool lensd_http_address_same(const struct lensd_http_address *a, const struct lensd_http_address *b)
{
    return a->off == b->off && a->size == b->size && memcmp(&a->address, &b->address, sizeof a->address) == 0;
}

/* ---- the socket ------------------------------------------------------------------------------------------------- */

static const char *path_of(const struct lensd_http_address *address)
{
    return address->address.ss_family == AF_UNIX ? ((const struct sockaddr_un *)&address->address)->sun_path : NULL;
}

/* Removes what a daemon that died left behind. */
static int remove_stale(const struct lensd_http_address *address, struct lens_error *err)
{
    const char *path = path_of(address);
    struct stat st;
    if (path == NULL || lstat(path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return lens_error_set(err, -EEXIST, "%s exists and isn't a socket: remove it, or give another path", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool served = fd >= 0 && (connect(fd, (const struct sockaddr *)&address->address, address->size) == 0 ||
                              errno == EAGAIN || errno == EPROTOTYPE);
    if (fd >= 0)
        close(fd);
    if (served)
        return lens_error_set(err, -EADDRINUSE, "another program serves %s: stop it, or give another path", path);
    if (unlink(path) != 0)
        return lens_error_set(err, -errno, "can't remove the old socket %s: %s", path, strerror(errno));
    return 0;
}

static void tell_where(const struct lensd_http_address *address, char where[LENSD_HTTP_WHERE])
{
    const struct sockaddr_in *four = (const struct sockaddr_in *)&address->address;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&address->address;
    bool is_six = address->address.ss_family == AF_INET6;
    char host[INET6_ADDRSTRLEN] = "?";
    if (path_of(address) != NULL) {
        snprintf(where, LENSD_HTTP_WHERE, "unix:%s", path_of(address));
        return;
    }
    inet_ntop(address->address.ss_family, is_six ? (const void *)&six->sin6_addr : (const void *)&four->sin_addr, host,
              sizeof host);
    snprintf(where, LENSD_HTTP_WHERE, "http://%s%s%s:%u/metrics", is_six ? "[" : "", host, is_six ? "]" : "",
             ntohs(is_six ? six->sin6_port : four->sin_port));
}

static int bind_and_listen(const struct lensd_http_address *address, int fd)
{
    const int on = 1;
    bool inet = path_of(address) == NULL;
    /* A restart must not wait for the old daemon's connections to be forgotten. */
    if (inet && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        return -errno;
    /* The mode of the file is set before the name exists, so that nobody meets another. */
    if (!inet && fchmod(fd, 0666) != 0)
        return -errno;
    if (bind(fd, (const struct sockaddr *)&address->address, address->size) != 0)
        return -errno;
    if (!inet)
        /* The umask took its part. Whoever owns the folder may have put a link there meanwhile: it isn't followed. */
        (void)fchmodat(AT_FDCWD, path_of(address), 0666, AT_SYMLINK_NOFOLLOW);
    return listen(fd, BACKLOG) != 0 ? -errno : 0;
}

int lensd_http_address_listen(const struct lensd_http_address *address, int *fd, char where[LENSD_HTTP_WHERE],
                              struct lens_error *err)
{
    *fd = -1;
    int r = remove_stale(address, err);
    if (r != 0)
        return r;
    int made = socket(address->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (made < 0)
        return lens_error_set(err, -errno, "can't make a socket for metrics: %s", strerror(errno));
    tell_where(address, where);
    r = bind_and_listen(address, made);
    if (r != 0) {
        close(made);
        return lens_error_set(err, r, "can't serve metrics on %s: %s%s", where, strerror(-r),
                              r == -EADDRINUSE ? " (another program has it: give http.listen another port, or off)"
                              : r == -ENOENT   ? " (its directory doesn't exist)"
                                               : "");
    }
    struct lensd_http_address bound = *address; /* with the port that the kernel chose */
    if (path_of(address) == NULL)
        (void)getsockname(made, (struct sockaddr *)&bound.address, &bound.size);
    tell_where(&bound, where);
    *fd = made;
    return 0;
}

void lensd_http_address_remove(const struct lensd_http_address *address)
{
    if (path_of(address) != NULL)
        unlink(path_of(address));
}
