/* The journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram an entry, NAME=value a line.
 *
 * Not sd_journal_sendv, which waits when the journal's queue is full: whoever logs here must never wait. Entries are
 * small and their values are single lines, so that neither a memory file nor binary fields are needed.
 * Threads: any; a send is one system call. */
#ifndef LENSD_JOURNAL_H
#define LENSD_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#define LENSD_JOURNAL_SOCKET "/run/systemd/journal/socket"
#define LENSD_JOURNAL_ENTRY  4096u /* bytes of one entry */

/* One being written. */
struct lensd_journal_entry {
    char text[LENSD_JOURNAL_ENTRY];
    size_t used;
};

/* Adds NAME=value; control characters in the value, and what isn't UTF-8, become '?'. A field that has no room is left
 * out as a whole: add what matters first. */
void lensd_journal_add(struct lensd_journal_entry *entry, const char *name, const char *value);
void lensd_journal_add_number(struct lensd_journal_entry *entry, const char *name, uint64_t value);

/* A socket to send by; negative errno. */
int lensd_journal_open(void);

/* Sends to the journal that listens at `path`. 0, or a negative errno at once: -EAGAIN when it is full, -ENOENT or
 * -ECONNREFUSED when it is gone. */
int lensd_journal_send(int fd, const char *path, const struct lensd_journal_entry *entry);

#endif
