/* `lensctl top` on a terminal; see top.h. The only file that knows ncurses. Whatever happens, the terminal is given
 * back as it was: signals that end or resize are read from a descriptor in the loop, nothing is done in handlers. */
#include "client/lensctl/top.h"

#include "client/lensctl/waiting.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define NCURSES_WIDECHAR 1
#include <curses.h>

#define POLL_NS UINT64_C(250000000) /* the daemon remembers thousands of rows */

struct screen {
    SCREEN *terminal;
    int signals;
    bool utf8, colour;
};

/* ---- opening and closing ---------------------------------------------------------------------------------------- */

static int watch_signals(struct screen *screen)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGWINCH);
    screen->signals = sigprocmask(SIG_BLOCK, &set, NULL) == 0 ? signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK) : -1;
    return screen->signals >= 0 ? CTL_OK : ctl_fail(CTL_FAILED, "can't watch for signals: %s", strerror(errno));
}

static int open_screen(struct screen *screen, bool colour)
{
    setlocale(LC_CTYPE, "");
    screen->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    screen->terminal = newterm(NULL, stdout, stdin);
    if (screen->terminal == NULL)
        return ctl_fail(CTL_USAGE, "top can't draw on this terminal: use `lensctl top --once`");
    set_escdelay(25);
    cbreak();
    noecho();
    nonl();
    curs_set(0);
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    screen->colour = colour && has_colors() && start_color() == OK && use_default_colors() == OK;
    if (screen->colour) {
        init_pair(TOP_GOOD, COLOR_GREEN, -1);
        init_pair(TOP_BAD, COLOR_RED, -1);
        init_pair(TOP_NOTE, COLOR_YELLOW, -1);
    }
    return CTL_OK;
}

static void close_screen(struct screen *screen)
{
    if (screen->terminal != NULL) {
        endwin();
        delscreen(screen->terminal);
    }
    if (screen->signals >= 0)
        close(screen->signals);
}

/* ---- drawing ---------------------------------------------------------------------------------------------------- */

static attr_t attributes(const struct screen *screen, enum top_style style)
{
    switch (style) {
    case TOP_BOLD:
        return A_BOLD;
    case TOP_DIM:
        return A_DIM;
    case TOP_GOOD:
        return screen->colour ? COLOR_PAIR(TOP_GOOD) : A_NORMAL;
    case TOP_BAD:
        return screen->colour ? A_BOLD | COLOR_PAIR(TOP_BAD) : A_BOLD;
    case TOP_NOTE:
        return screen->colour ? COLOR_PAIR(TOP_NOTE) : A_BOLD;
    default:
        return A_NORMAL;
    }
}

static void put_line(int y, const char *text, attr_t look)
{
    char cells[TOP_LINE];
    attrset(look);
    mvaddstr(y, 0, top_fit(text, (unsigned)COLS, cells, sizeof cells));
    attrset(A_NORMAL);
}

static void draw_footer(const struct screen *screen, const struct top *top)
{
    char text[TOP_LINE];
    if (top->editing) {
        snprintf(text, sizeof text, "filter: %s_   Enter keeps it, Escape leaves it as it was", top->edited);
        put_line(LINES - 1, text, A_REVERSE);
    } else if (top->notice[0] != '\0') {
        put_line(LINES - 1, top->notice, attributes(screen, TOP_NOTE));
    } else if (top->paused) {
        put_line(LINES - 1, "PAUSED: p goes on   q quit   h help", A_REVERSE);
    } else {
        put_line(LINES - 1, "q quit  s sort  / filter  w watch  p pause  + - interval  h help", A_DIM);
    }
}

static void draw_help(void)
{
    const char *const *lines = top_help();
    for (int y = 0; y < LINES - 1 && lines[y] != NULL; y++)
        put_line(y, lines[y], A_NORMAL);
    put_line(LINES - 1, "any key goes back, q quits; more: lensctl help top", A_DIM);
}

/* How many of the lines above the list a screen of so many lines has room for. */
static int headers_for(int lines)
{
    return lines >= 14 ? TOP_HEADERS : lines >= 9 ? 3 : lines >= 6 ? 2 : 1;
}

static int draw_headers(const struct screen *screen, const struct top *top, uint32_t shown)
{
    static const enum top_header order[] = {TOP_DAEMON, TOP_WORK, TOP_MEMORY, TOP_SERVICE, TOP_LIST};
    int most = headers_for(LINES), y = 0;
    for (int i = 0; i < TOP_HEADERS; i++) {
        char text[TOP_LINE];
        if ((int)order[i] >= most)
            continue;
        enum top_style style = top_header(top, order[i], shown, text, sizeof text);
        put_line(y++, text, attributes(screen, style));
    }
    return y;
}

static void draw_list(const struct screen *screen, struct top *top, struct top_concept **list, uint32_t n, int y)
{
    struct top_columns columns;
    char text[TOP_LINE];
    top_columns_fit((unsigned)COLS, &columns);
    if (LINES >= 7) {
        top_titles(&columns, text, sizeof text);
        put_line(y++, text, screen->colour ? A_BOLD : A_UNDERLINE);
    }
    top->page_rows = LINES - 1 > y ? (uint32_t)(LINES - 1 - y) : 0;
    top_keep_in_view(top, list, n);
    uint32_t rows = n - top->first < top->page_rows ? n - top->first : top->page_rows;
    if (columns.path > 0 && !top->paused)
        top_fetch_paths(top, list + top->first, rows);
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t at = top->first + i;
        top_row(top, list[at], &columns, screen->utf8, text, sizeof text);
        put_line(y++, text, at == top->selected ? A_REVERSE : list[at]->watched ? A_BOLD : A_NORMAL);
    }
    if (n == 0)
        put_line(y,
                 top->filter[0] != '\0' ? "  no concept matches the filter (yet); / changes it" : "  nothing fired yet",
                 A_DIM);
}

static void draw(const struct screen *screen, struct top *top)
{
    struct top_concept **list;
    erase();
    if (LINES < 3 || COLS < 16) {
        mvaddnstr(0, 0, "too small", COLS);
    } else if (top->help) {
        draw_help();
    } else {
        uint32_t n = top_model_order(&top->model, top->sort, top->filter, &list);
        int y = draw_headers(screen, top, n);
        draw_list(screen, top, list, n, y);
        draw_footer(screen, top);
    }
    refresh();
}

/* ---- keys and signals ------------------------------------------------------------------------------------------- */

static uint32_t key_of(int kind, wint_t c)
{
    static const struct {
        wint_t code;
        uint32_t key;
    } keys[] = {{KEY_UP, TOP_KEY_UP},
                {KEY_DOWN, TOP_KEY_DOWN},
                {KEY_PPAGE, TOP_KEY_PAGE_UP},
                {KEY_NPAGE, TOP_KEY_PAGE_DOWN},
                {KEY_HOME, TOP_KEY_HOME},
                {KEY_END, TOP_KEY_END},
                {KEY_BACKSPACE, TOP_KEY_BACKSPACE},
                {KEY_ENTER, TOP_KEY_ENTER}};
    for (size_t i = 0; kind == KEY_CODE_YES && i < sizeof keys / sizeof keys[0]; i++) {
        if (keys[i].code == c)
            return keys[i].key;
    }
    if (kind == KEY_CODE_YES)
        return 0;
    if (c == '\r' || c == '\n')
        return TOP_KEY_ENTER;
    if (c == 0x7f || c == '\b')
        return TOP_KEY_BACKSPACE;
    return c == 0x1b ? TOP_KEY_ESCAPE : (uint32_t)c;
}

static void take_keys(struct top *top)
{
    wint_t c;
    for (int kind = get_wch(&c); kind != ERR; kind = get_wch(&c)) {
        uint32_t key = key_of(kind, c);
        if (key != 0)
            top_press(top, key);
    }
}

static void take_signals(const struct screen *screen, struct top *top)
{
    struct signalfd_siginfo info;
    while (read(screen->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        struct winsize size;
        if (info.ssi_signo != SIGWINCH)
            top->over = true;
        else if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0)
            resizeterm(size.ws_row, size.ws_col);
    }
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static uint64_t end_of_interval(const struct top *top)
{
    return top->opened_ns + (uint64_t)(top->interval_s * 1e9);
}

/* Waits for a key, a signal or the moment. True: there is something to draw. */
static bool wait_for_someone(const struct screen *screen, struct top *top, uint64_t moment)
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = screen->signals, .events = POLLIN}};
    uint64_t now = ctl_now_ns(), left = moment > now ? moment - now : 0;
    struct timespec t = {.tv_sec = (time_t)(left / CTL_SECOND_NS), .tv_nsec = (long)(left % CTL_SECOND_NS)};
    int r = ppoll(fds, 2, top->paused ? NULL : &t, NULL);
    if (r < 0)
        return errno == EINTR; /* stopped and continued: the screen has to be drawn anew */
    if (fds[1].revents != 0)
        take_signals(screen, top);
    if ((fds[0].revents & POLLIN) != 0)
        take_keys(top);
    if ((fds[0].revents & (POLLHUP | POLLERR)) != 0)
        top->over = true; /* nobody sits there any more */
    return r > 0;
}

static void go_on(const struct screen *screen, struct top *top)
{
    uint64_t poll_at = ctl_now_ns() + POLL_NS;
    draw(screen, top);
    while (!top->over) {
        uint64_t end = end_of_interval(top);
        bool changed = wait_for_someone(screen, top, poll_at < end ? poll_at : end);
        uint64_t now = ctl_now_ns();
        if (!top->paused && now >= end_of_interval(top)) {
            top_close_interval(top);
            changed = true;
            poll_at = ctl_now_ns() + POLL_NS;
        } else if (!top->paused && now >= poll_at) {
            top_poll(top);
            poll_at = ctl_now_ns() + POLL_NS;
        }
        if (changed && !top->over)
            draw(screen, top);
    }
}

int top_show(struct top *top)
{
    struct screen screen = {.signals = -1};
    int r = watch_signals(&screen);
    if (r == CTL_OK)
        r = open_screen(&screen, top->ctl->out.colour);
    if (r == CTL_OK)
        go_on(&screen, top);
    close_screen(&screen);
    return r;
}
