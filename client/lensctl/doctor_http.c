/* See doctor_http.h. */
#include "client/lensctl/doctor_http.h"

#include "client/lensctl/waiting.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int connect_to(int family, const struct sockaddr *address, socklen_t length)
{
    const struct timeval second = {.tv_sec = 1};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second); /* holds for connect as well */
    if (connect(fd, address, length) == 0)
        return fd;
    int r = errno == EINPROGRESS ? -ETIMEDOUT : -errno;
    close(fd);
    return r;
}

static int connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    return connect_to(AF_UNIX, (const struct sockaddr *)&address, sizeof address);
}

/* lensd serves loopback addresses alone, and what it says of itself shall not send anybody elsewhere. */
static bool is_loopback(const struct sockaddr *address)
{
    const struct sockaddr_in *four = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
    return address->sa_family == AF_INET ? ntohl(four->sin_addr.s_addr) >> 24 == 127
                                         : IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
}

static int connect_numeric(const char *where)
{
    char host[256];
    const char *colon = strrchr(where, ':');
    size_t n = colon != NULL ? (size_t)(colon - where) : 0;
    if (n == 0 || n >= sizeof host)
        return -EINVAL;
    bool bracketed = where[0] == '[' && where[n - 1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(bracketed ? n - 2 : n), where + bracketed);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, colon + 1, &hints, &found) != 0)
        return -EINVAL;
    int fd = is_loopback(found->ai_addr) ? connect_to(found->ai_family, found->ai_addr, found->ai_addrlen) : -EINVAL;
    freeaddrinfo(found);
    return fd;
}

static int ask(int fd, const char *path, char *why, size_t size)
{
    char text[2048];
    int status = 0;
    size_t used = 0;
    int n = snprintf(text, sizeof text, "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path);
    if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n) {
        snprintf(why, size, "%s", strerror(errno));
        return 0;
    }
    /* Each wait is a second at most, and all of them two: an answer that trickles isn't waited for. */
    uint64_t end = ctl_now_ns() + 2 * CTL_SECOND_NS;
    for (ssize_t got = 1; got > 0 && used < sizeof text - 1 && ctl_now_ns() < end;) {
        got = recv(fd, text + used, sizeof text - 1 - used, 0);
        used += got > 0 ? (size_t)got : 0;
    }
    text[used] = '\0';
    const char *body = strstr(text, "\r\n\r\n");
    if (sscanf(text, "HTTP/1.%*d %d", &status) != 1) {
        snprintf(why, size, "%s", used == 0 ? "no answer within a second" : "what answers doesn't speak HTTP");
        return 0;
    }
    body = body != NULL ? body + 4 : "";
    snprintf(why, size, "%.*s", (int)strcspn(body, "\r\n"), body);
    return status;
}

int doctor_http_get(const char *where, const char *path, char *why, size_t size)
{
    const char *name = strncmp(where, "unix:", 5) == 0 ? where + 5 : where;
    int fd = name[0] == '/' ? connect_unix(name) : connect_numeric(where);
    if (fd < 0) {
        snprintf(why, size, "%s", fd == -EINVAL ? "it isn't a loopback address and a port" : strerror(-fd));
        return 0;
    }
    int status = ask(fd, path, why, size);
    close(fd);
    return status;
}
