/* What the keys of `lensctl top` do; see top.h. Pure: only struct top changes. */
#include "client/lensctl/top.h"

#include <string.h>

static const double intervals[] = {0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300};
#define INTERVALS (sizeof intervals / sizeof intervals[0])

static void say(struct top *top, const char *text)
{
    snprintf(top->notice, sizeof top->notice, "%s", text);
}

static void change_interval(struct top *top, bool longer)
{
    size_t i;
    if (longer) {
        for (i = 0; i + 1 < INTERVALS && intervals[i] <= top->interval_s; i++)
            ;
    } else {
        for (i = INTERVALS - 1; i > 0 && intervals[i] >= top->interval_s; i--)
            ;
    }
    top->interval_s = intervals[i];
    snprintf(top->notice, sizeof top->notice, "an interval is %.3g s now", top->interval_s);
}

static void toggle_watch(struct top *top)
{
    struct top_concept **list;
    uint32_t n = top_model_order(&top->model, top->sort, top->filter, &list);
    if (top->selected >= n)
        return;
    struct top_concept *marked = list[top->selected];
    char key[96];
    ctl_printable(marked->key, strlen(marked->key), key, sizeof key);
    if (top_model_toggle(&top->model, marked) != 0)
        snprintf(top->notice, sizeof top->notice, "at most %u concepts are watched", TOP_WATCHED);
    else
        snprintf(top->notice, sizeof top->notice, "%s is %s", key, marked->watched ? "watched" : "no longer watched");
}

static size_t encode(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((0xf0u << (4 - n)) | c);
    return n;
}

static void drop_last_character(char *text)
{
    size_t n = strlen(text);
    while (n > 0 && ((unsigned char)text[n - 1] & 0xc0) == 0x80)
        n--;
    text[n > 0 ? n - 1 : 0] = '\0';
}

static void edit(struct top *top, uint32_t key)
{
    size_t n = strlen(top->edited);
    if (key == TOP_KEY_ENTER || key == TOP_KEY_ESCAPE) {
        top->editing = false;
        if (key == TOP_KEY_ENTER) {
            memcpy(top->filter, top->edited, sizeof top->filter);
            top->selected = top->first = 0;
            top->marked = NULL;
        }
    } else if (key == TOP_KEY_BACKSPACE) {
        drop_last_character(top->edited);
    } else if (key >= 0x20 && key < 0x110000 && key != 0x7f && !(key >= 0x80 && key < 0xa0) && n + 4 < TOP_FILTER_MAX) {
        top->edited[n + encode(key, top->edited + n)] = '\0';
    }
}

static void move(struct top *top, uint32_t key)
{
    top->moved = true;
    uint32_t page = top->page_rows > 1 ? top->page_rows - 1 : 1, at = top->selected;
    if (key == TOP_KEY_UP)
        top->selected = at > 0 ? at - 1 : 0;
    else if (key == TOP_KEY_DOWN)
        top->selected = at + 1;
    else if (key == TOP_KEY_PAGE_UP)
        top->selected = at > page ? at - page : 0;
    else if (key == TOP_KEY_PAGE_DOWN)
        top->selected = at + page;
    else if (key == TOP_KEY_HOME)
        top->selected = 0;
    else if (key == TOP_KEY_END)
        top->selected = UINT32_MAX;
}

static void command(struct top *top, uint32_t key)
{
    switch (key) {
    case 'q':
    case 'Q':
        top->over = true;
        break;
    case 's':
        top->sort = (top->sort + 1) % TOP_SORTS;
        break;
    case '/':
        top->editing = true;
        memcpy(top->edited, top->filter, sizeof top->edited);
        break;
    case 'w':
        toggle_watch(top);
        break;
    case 'p':
    case ' ':
        top->paused = !top->paused;
        break;
    case '+':
    case '=':
        change_interval(top, true);
        break;
    case '-':
        change_interval(top, false);
        break;
    case 'h':
    case '?':
        top->help = true;
        break;
    case TOP_KEY_ESCAPE:
        top->filter[0] = '\0';
        break;
    default:
        if (key >= TOP_KEY_UP)
            move(top, key);
        else
            say(top, "no such key; h shows those that there are");
    }
}

void top_press(struct top *top, uint32_t key)
{
    top->notice[0] = '\0';
    if (top->editing)
        edit(top, key);
    else if (top->help && key != 'q')
        top->help = false;
    else
        command(top, key);
}

/* Where the marked concept stands now, if that is still on the screen; else the mark stays at its row. */
static void follow_marked(struct top *top, struct top_concept **list, uint32_t n, uint32_t rows)
{
    for (uint32_t i = top->first; top->marked != NULL && i < n && i < top->first + rows; i++) {
        if (list[i] == top->marked) {
            top->selected = i;
            return;
        }
    }
    top->marked = NULL;
}

void top_keep_in_view(struct top *top, struct top_concept **list, uint32_t n)
{
    uint32_t rows = top->page_rows > 0 ? top->page_rows : 1;
    if (!top->moved)
        follow_marked(top, list, n, rows);
    top->selected = n == 0 ? 0 : top->selected < n ? top->selected : n - 1;
    if (top->selected < top->first)
        top->first = top->selected;
    if (top->selected >= top->first + rows)
        top->first = top->selected - rows + 1;
    if (top->first + rows > n)
        top->first = n > rows ? n - rows : 0;
    if (top->moved && n > 0)
        top->marked = list[top->selected];
    top->moved = false;
}
