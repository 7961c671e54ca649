/* See journal.h. */
#include "daemon/journal.h"

#include "daemon/sys.h"
#include "proto/pack_utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

void lensd_journal_add(struct lensd_journal_entry *entry, const char *name, const char *value)
{
    char *at = entry->text + entry->used;
    size_t room = sizeof entry->text - entry->used;
    int n = snprintf(at, room, "%s=%s\n", name, value);
    if (n < 0 || (size_t)n >= room)
        return;
    pack_utf8_make_name(at, (size_t)n - 1);
    entry->used += (size_t)n;
}

void lensd_journal_add_number(struct lensd_journal_entry *entry, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    lensd_journal_add(entry, name, text);
}

int lensd_journal_open(void)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    return fd;
}

int lensd_journal_send(int fd, const char *path, const struct lensd_journal_entry *entry)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct iovec part = {.iov_base = (void *)entry->text, .iov_len = entry->used};
    struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &part, .msg_iovlen = 1};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    ssize_t n = lensd_sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? (int)n : 0;
}
