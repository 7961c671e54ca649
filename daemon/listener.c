/* See listener.h. */
#include "daemon/listener.h"

#include "daemon/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define DEFAULT_DIR "/run/lensd"

/* Copies a path that must fit a socket address: longer ones are refused, never cut. */
static int set_path(struct lensd_listener *listener, const char *directory, const char *name, struct lens_error *err)
{
    int n = snprintf(listener->path, sizeof listener->path, "%s%s", directory, name);
    if (n >= 0 && (size_t)n < sizeof listener->path)
        return 0;
    return lens_error_set(err, -ENAMETOOLONG, "the socket's path %s%s has %d bytes; a socket's may have %zu at most",
                          directory, name, n, sizeof listener->path - 1);
}

static int choose_path(struct lensd_listener *listener, const char *path, struct lens_error *err)
{
    const char *from_env = getenv("LENSD_SOCKET"), *runtime = getenv("XDG_RUNTIME_DIR");
    if (path[0] != '\0')
        return set_path(listener, path, "", err);
    if (from_env != NULL && from_env[0] != '\0')
        return set_path(listener, from_env, "", err);
    if (runtime != NULL && runtime[0] != '\0')
        return set_path(listener, runtime, "/lensd.sock", err);
    /* The system's place: a service manager makes the directory; root by hand gets it made here. */
    if (mkdir(DEFAULT_DIR, 0755) != 0 && errno != EEXIST)
        return lens_error_set(err, -errno,
                              "no place for the control socket: $XDG_RUNTIME_DIR isn't set and %s can't be made (%s); "
                              "give --socket PATH",
                              DEFAULT_DIR, strerror(errno));
    return set_path(listener, DEFAULT_DIR, "/lensd.sock", err);
}

static int take_lock(struct lensd_listener *listener, struct lens_error *err)
{
    char path[sizeof listener->path + sizeof ".lock"];
    snprintf(path, sizeof path, "%s.lock", listener->path);
    listener->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (listener->lock_fd < 0)
        return lens_error_set(err, -errno, "can't make the lock file %s: %s", path, strerror(errno));
    if (flock(listener->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    int error = errno == EWOULDBLOCK ? EADDRINUSE : errno;
    if (error == EADDRINUSE)
        return lens_error_set(err, -error,
                              "another lensd serves %s (it holds %s): stop it, or give this one another --socket",
                              listener->path, path);
    return lens_error_set(err, -error, "can't lock %s: %s", path, strerror(error));
}

/* True when somebody accepts on the path, whoever it is. */
static bool is_served(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool served = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN;
    close(fd);
    return served;
}

/* Removes what a daemon that died left behind. Only called with the lock held. */
static int remove_stale(const struct sockaddr_un *address, struct lens_error *err)
{
    struct stat st;
    if (lstat(address->sun_path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return lens_error_set(err, -EEXIST, "%s exists and isn't a socket: remove it, or give another --socket",
                              address->sun_path);
    if (is_served(address))
        return lens_error_set(err, -EADDRINUSE, "another program serves %s: stop it, or give another --socket",
                              address->sun_path);
    if (unlink(address->sun_path) != 0)
        return lens_error_set(err, -errno, "can't remove the old socket %s: %s", address->sun_path, strerror(errno));
    return 0;
}

static int bind_and_listen(struct lensd_listener *listener, bool wide, struct lens_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, listener->path, sizeof address.sun_path);
    int r = remove_stale(&address, err);
    if (r != 0)
        return r;
    listener->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode of the file is set before the name exists, so that nobody slips in between. */
    if (listener->fd >= 0 && fchmod(listener->fd, 0600) == 0 &&
        bind(listener->fd, (const struct sockaddr *)&address, sizeof address) == 0) {
        lensd_listener_set_wide(listener, wide);
        if (listen(listener->fd, SOMAXCONN) == 0)
            return 0;
        r = -errno;
        unlink(listener->path);
    } else {
        r = -errno;
    }
    return lens_error_set(err, r, "can't listen on %s: %s%s", listener->path, strerror(-r),
                          r == -ENOENT ? " (its directory doesn't exist)" : "");
}

/* A socket from the service manager: 1 when there is one, 0 when not, negative errno when it is of the wrong kind. */
static int take_activated(struct lensd_listener *listener, struct lens_error *err)
{
    struct sockaddr_un address = {0};
    socklen_t size = sizeof address;
    int n = sd_listen_fds(1);
    if (n <= 0)
        return 0;
    int fd = SD_LISTEN_FDS_START;
    if (n != 1 || sd_is_socket(fd, AF_UNIX, SOCK_SEQPACKET, 1) <= 0)
        return lens_error_set(err, -EINVAL,
                              "the service manager handed over %d descriptors: expected one listening "
                              "ListenSequentialPacket= socket",
                              n);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return lens_error_set(err, -errno, "the service manager's socket: %s", strerror(errno));
    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0)
        memcpy(listener->path, address.sun_path, sizeof listener->path);
    listener->path[sizeof listener->path - 1] = '\0';
    listener->fd = fd;
    listener->activated = true;
    return 1;
}

int lensd_listener_open(struct lensd_listener *listener, const char *path, bool wide, struct lens_error *err)
{
    *listener = (struct lensd_listener){.fd = -1, .lock_fd = -1, .reserve_fd = -1};
    int r = take_activated(listener, err);
    if (r == 0) {
        r = choose_path(listener, path, err);
        if (r == 0)
            r = take_lock(listener, err);
        if (r == 0)
            r = bind_and_listen(listener, wide, err);
    }
    if (r >= 0) {
        listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (listener->reserve_fd >= 0)
            return 0;
        r = lens_error_set(err, -errno, "can't open /dev/null: %s", strerror(errno));
    } else if (listener->lock_fd >= 0 && listener->fd >= 0) {
        close(listener->fd); /* made but not bound: the name isn't ours to remove */
        listener->fd = -1;
    }
    lensd_listener_close(listener);
    return r;
}

void lensd_listener_close(struct lensd_listener *listener)
{
    if (listener->fd >= 0 && !listener->activated)
        unlink(listener->path);
    if (listener->fd >= 0)
        close(listener->fd);
    if (listener->reserve_fd >= 0)
        close(listener->reserve_fd);
    if (listener->lock_fd >= 0)
        close(listener->lock_fd); /* the lock file stays: removing it would race with a daemon that waits for it */
    listener->fd = listener->reserve_fd = listener->lock_fd = -1;
}

void lensd_listener_set_wide(const struct lensd_listener *listener, bool wide)
{
    if (!listener->activated) /* a link that somebody put there meanwhile isn't followed */
        (void)fchmodat(AT_FDCWD, listener->path, wide ? 0666 : 0600, AT_SYMLINK_NOFOLLOW);
}

int lensd_listener_accept(struct lensd_listener *listener)
{
    int fd = lensd_accept(listener->fd);
    if (fd == -ECONNABORTED || fd == -EINTR)
        return lensd_accept(listener->fd);
    if (fd != -EMFILE && fd != -ENFILE)
        return fd;
    if (listener->reserve_fd >= 0)
        close(listener->reserve_fd);
    int shed = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
    if (shed >= 0)
        close(shed);
    listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return -EMFILE;
}
