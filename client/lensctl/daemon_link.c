/* See daemon_link.h. */
#include "client/lensctl/daemon_link.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PACK_TIMEOUT_MS 600000u /* a large pack on a slow disk */

static bool means_no_daemon(int code)
{
    return code == -ENOENT || code == -ECONNREFUSED || code == -ENOTCONN;
}

int ctl_link_failed(int code, const char *sentence)
{
    return ctl_fail(means_no_daemon(code) ? CTL_NO_DAEMON : CTL_FAILED, "%s", sentence);
}

int ctl_connect(const struct ctl *ctl, struct lens_client **out)
{
    struct lens_client_error err = {0};
    int r = lens_client_open(ctl->socket_path, out, &err);
    return r == 0 ? CTL_OK : ctl_link_failed(r, err.text);
}

void ctl_request(struct lens_msg *msg, enum lens_msg_type type)
{
    memset(msg, 0, sizeof *msg);
    msg->type = type;
}

int ctl_call(struct lens_client *client, struct lens_msg *msg, enum lens_msg_type expected)
{
    int fd;
    int r = ctl_call_fd(client, msg, expected, &fd);
    if (fd >= 0)
        close(fd);
    return r;
}

int ctl_call_fd(struct lens_client *client, struct lens_msg *msg, enum lens_msg_type expected, int *fd)
{
    struct lens_client_error err = {0};
    enum lens_msg_type asked = msg->type;
    bool reads_a_pack = asked == LENS_MSG_LOAD || asked == LENS_MSG_SWAP || asked == LENS_MSG_PRELOAD;
    uint32_t timeout_ms = reads_a_pack ? PACK_TIMEOUT_MS : LENS_CONTROL_TIMEOUT_MS;
    int r = lens_control_call_fd(client, msg, msg, fd, timeout_ms, &err);
    if (r == -EREMOTEIO)
        return ctl_fail(CTL_FAILED, "%s (%s)", err.text, lens_fault_name(msg->u.fault.code));
    if (r == -ETIMEDOUT && reads_a_pack)
        return ctl_fail(CTL_FAILED,
                        "lensd is still reading the pack: `lensctl status` says how far it is, `lensctl packs` "
                        "shows it as soon as it is there, lensd's log says so when it is refused");
    if (r != 0)
        return ctl_link_failed(r, err.text);
    if (msg->type != expected)
        return ctl_fail(CTL_FAILED, "expected %s as the answer to %s, found %s: do lensctl and lensd fit together?",
                        lens_msg_name(expected), lens_msg_name(asked), lens_msg_name(msg->type));
    return CTL_OK;
}

static bool is_named(const struct lens_pack_row *row, const char *name)
{
    return row->name.length == strlen(name) && memcmp(row->name.data, name, row->name.length) == 0;
}

const struct lens_pack_row *ctl_find_pack(struct lens_client *client, const char *name, struct lens_msg *msg,
                                          int *exit_code)
{
    uint32_t first = 0;
    bool any = name == NULL || name[0] == '\0';
    for (;;) {
        ctl_request(msg, LENS_MSG_PACKS);
        msg->u.page.first = first;
        *exit_code = ctl_call(client, msg, LENS_MSG_PACK_PAGE);
        if (*exit_code != CTL_OK)
            return NULL;
        const struct lens_pack_page *page = &msg->u.pack_page;
        for (uint32_t i = 0; i < page->count; i++) {
            if (any || is_named(&page->rows[i], name))
                return &page->rows[i];
        }
        first += page->count;
        if (page->count == 0 || first >= page->total)
            break;
    }
    *exit_code = CTL_FAILED;
    if (any)
        ctl_fail(CTL_FAILED, "the daemon has no pack loaded; load one with `lensctl load FILE`");
    else
        ctl_fail(CTL_FAILED, "no pack named '%s' is loaded; `lensctl packs` lists those that are", name);
    return NULL;
}

int ctl_each_setting(struct lens_client *client, void (*take)(void *arg, const struct lens_setting_row *row), void *arg)
{
    struct lens_msg msg;
    const struct lens_setting_page *page = &msg.u.setting_page;
    uint32_t first = 0;
    do {
        ctl_request(&msg, LENS_MSG_CONFIG);
        msg.u.page.first = first;
        int r = ctl_call(client, &msg, LENS_MSG_SETTING_PAGE);
        if (r != CTL_OK)
            return r;
        for (uint32_t i = 0; i < page->count; i++)
            take(arg, &page->rows[i]);
        first += page->count;
    } while (page->count > 0 && first < page->total);
    return CTL_OK;
}
