/* The texts that `lensctl top` shows, as lines; see top.h. Nothing here knows a terminal: widths are counted, styles
 * named.
 */
#include "client/lensctl/top.h"

#include "client/lensctl/waiting.h"
#include "proto/wire.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <wchar.h>

#define ALERT_SHOWN_NS UINT64_C(60000000000)

/* ---- cells ------------------------------------------------------------------------------------------------------ */

/* Marks that turn the writing direction would let a name rearrange the line it stands in. */
static bool turns_direction(wchar_t c)
{
    return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f || c == 0x061c;
}

/* The next character of *text: its bytes (at least 1) and columns; *odd when something else must stand for it. */
static size_t next_character(const char *text, mbstate_t *state, unsigned *columns, bool *odd)
{
    wchar_t c;
    size_t n = mbrtowc(&c, text, strlen(text), state);
    if (n == (size_t)-1 || n == (size_t)-2 || n == 0) {
        memset(state, 0, sizeof *state);
        *odd = true;
        *columns = 1;
        return 1;
    }
    int width = wcwidth(c);
    *odd = width < 0 || turns_direction(c);
    *columns = *odd ? 1 : (unsigned)width;
    return n;
}

static unsigned columns_of(const char *text)
{
    mbstate_t state = {0};
    unsigned all = 0, columns;
    bool odd;
    while (*text != '\0') {
        text += next_character(text, &state, &columns, &odd);
        all += columns;
    }
    return all;
}

char *top_fit(const char *text, unsigned width, char *out, size_t size)
{
    mbstate_t state = {0};
    bool cut = columns_of(text) > width, odd;
    unsigned room = cut && width > 0 ? width - 1 : width, used = 0, columns;
    size_t at = 0;
    while (*text != '\0') {
        size_t n = next_character(text, &state, &columns, &odd);
        if (used + columns > room || at + n + (width - used) + 2 > size)
            break;
        if (odd)
            out[at++] = '?';
        else
            memcpy(out + at, text, n);
        at += odd ? 0 : n;
        used += columns;
        text += n;
    }
    for (; used < width && at + 1 < size; used++)
        out[at++] = cut && used + 1 == width ? '~' : ' ';
    out[at] = '\0';
    return out;
}

const char *top_block(float score, bool utf8)
{
    static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const plain[] = {" ", ".", ":", "-", "=", "+", "*", "%", "#"};
    float height = ceilf(score * 8.0f);
    unsigned level = !(height > 0.0f) ? 0 : height >= 8.0f ? 8 : (unsigned)height;
    return (utf8 ? blocks : plain)[level];
}

static const char *arrow(enum top_trend trend, bool utf8)
{
    static const char *const arrows[] = {" ", "↑", "↓", "→"};
    static const char *const plain[] = {" ", "^", "v", "-"};
    return (utf8 ? arrows : plain)[trend];
}

/* ---- columns ---------------------------------------------------------------------------------------------------- */

#define MARK 2u /* in front of a row */

/* Gives `want` more columns to *column (and `gap` in front of it when it had none), if they are left. */
static void widen(unsigned *left, unsigned *column, unsigned want)
{
    unsigned gap = *column == 0 ? 1 : 0;
    if (*left < want + gap)
        return;
    *column += want;
    *left -= want + gap;
}

static void stretch(unsigned *left, unsigned *column, unsigned to)
{
    if (*column > 0 && *column < to) {
        unsigned more = to - *column < *left ? to - *column : *left;
        *column += more;
        *left -= more;
    }
}

void top_columns_fit(unsigned width, struct top_columns *out)
{
    *out = (struct top_columns){0};
    unsigned left = width > MARK ? width - MARK : 0;
    out->name = left < 10 ? left : 10;
    left -= out->name;
    widen(&left, &out->score, 5);
    widen(&left, &out->trend, 1);
    widen(&left, &out->rate, 7);
    widen(&left, &out->last, 5);
    widen(&left, &out->spark, 8);
    stretch(&left, &out->name, 24);
    stretch(&left, &out->spark, 16);
    widen(&left, &out->path, 10);
    if (out->path == 0) {
        stretch(&left, &out->spark, TOP_HISTORY);
        return;
    }
    stretch(&left, &out->path, 24);
    stretch(&left, &out->name, 32);
    stretch(&left, &out->spark, 32);
    out->path += left;
}

/* Text put together piece by piece; what doesn't fit is left out. */
struct line {
    char *out;
    size_t size, used;
};

static void put(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line->out + line->used, line->size - line->used, format, args);
    va_end(args);
    if (n > 0)
        line->used = line->used + (size_t)n < line->size ? line->used + (size_t)n : line->size - 1;
}

static void put_cell(struct line *line, const char *text, unsigned width)
{
    char cell[TOP_LINE];
    if (width > 0)
        put(line, " %s", top_fit(text, width, cell, sizeof cell));
}

static void put_right(struct line *line, const char *text, unsigned width)
{
    if (width > 0)
        put(line, " %*s", (int)width, text);
}

void top_titles(const struct top_columns *c, char *out, size_t size)
{
    struct line line = {out, size, 0};
    char cell[TOP_LINE];
    put(&line, "  %s", top_fit("concept", c->name, cell, sizeof cell));
    put_right(&line, "score", c->score);
    put_right(&line, "last", c->last);
    put_cell(&line, "", c->trend);
    put_cell(&line, c->spark >= 12 ? "newest right" : "history", c->spark);
    put_right(&line, "per s", c->rate);
    put_cell(&line, "below", c->path);
}

/* The keys above the concept, and its pack when there are several. */
static void path_text(const struct top *top, const struct top_concept *concept, char *out, size_t size)
{
    struct line line = {out, size, 0};
    char key[TOP_LINE];
    out[0] = '\0';
    if (top->after.packs > 1)
        put(&line, "%s: ", ctl_printable(concept->pack, strlen(concept->pack), key, sizeof key));
    const char *at = concept->path;
    for (uint32_t i = 0; at != NULL && i + 1 < concept->n_path; i++) {
        put(&line, "%s%s", i > 0 ? " > " : "", ctl_printable(at, strlen(at), key, sizeof key));
        at += strlen(at) + 1;
    }
}

static void put_spark(struct line *line, const struct top *top, const struct top_concept *concept, unsigned width,
                      bool utf8)
{
    if (width > 0)
        put(line, " ");
    for (unsigned i = width; i-- > 0;)
        put(line, "%s", top_block(top_history(&top->model, concept, i), utf8));
}

void top_row(const struct top *top, const struct top_concept *concept, const struct top_columns *c, bool utf8,
             char *out, size_t size)
{
    struct line line = {out, size, 0};
    char text[TOP_LINE], cell[TOP_LINE];
    ctl_printable(concept->key, strlen(concept->key), text, sizeof text);
    put(&line, "%c %s", concept->watched ? '*' : ' ', top_fit(text, c->name, cell, sizeof cell));
    bool seen = concept->detections > 0;
    snprintf(cell, sizeof cell, "%.3f", concept->score);
    put_right(&line, seen ? cell : "-", c->score);
    snprintf(cell, sizeof cell, "%.3f", (double)concept->last);
    put_right(&line, seen ? cell : "-", c->last);
    if (c->trend > 0)
        put(&line, " %s", arrow(concept->trend, utf8));
    put_spark(&line, top, concept, c->spark, utf8);
    snprintf(cell, sizeof cell, concept->rate < 99999.0 ? "%.1f" : "%.0f", concept->rate);
    put_right(&line, cell, c->rate);
    path_text(top, concept, text, sizeof text);
    put_cell(&line, text, c->path);
}

/* ---- above the list --------------------------------------------------------------------------------------------- */

/* An alert of the last minute. */
static bool put_alert(const struct top *top, struct line *line)
{
    uint64_t ago_ns = top->alerts > 0 ? ctl_now_ns() - top->alert_ns : UINT64_MAX;
    char ago[32];
    if (ago_ns > ALERT_SHOWN_NS)
        return false;
    put(line, "; %llu %s, the last %s ago: %s %s", (unsigned long long)top->alerts,
        top->alerts == 1 ? "alert" : "alerts", ctl_duration_text(ago_ns, ago, sizeof ago),
        top->alert_action == LENS_VERDICT_STOP ? "stop" : "flag", top->alert_rule);
    return true;
}

static enum top_style service(const struct top *top, struct line *line)
{
    char away[32];
    if (!top->connected) {
        ctl_duration_text(ctl_now_ns() - top->gone_ns, away, sizeof away);
        put(line, "no daemon, trying again (for %s): %s", away, top->trouble);
        return TOP_BAD;
    }
    if (top->trouble[0] != '\0') {
        put(line, "%s", top->trouble);
        return TOP_BAD;
    }
    if (top->after.degraded[0] != '\0') {
        put(line, "degraded: %s", top->after.degraded);
        (void)put_alert(top, line);
        return TOP_BAD;
    }
    bool loading = top->after.loading[0] != '\0';
    put(line, "full service%s%s%s", loading ? ", loading " : "", top->after.loading,
        top->operator_ ? "" : "; rows of your own user only: more is for operators");
    bool alert = put_alert(top, line);
    return loading || alert ? TOP_NOTE : TOP_GOOD;
}

static void put_latency(struct line *line, const char *name, double ns)
{
    char text[32];
    if (isnan(ns))
        put(line, "  %s -", name);
    else
        put(line, "  %s %s", name, ctl_latency_text((uint64_t)ns, text, sizeof text));
}

static enum top_style work(const struct top *top, struct line *line)
{
    const struct ctl_figures *f = &top->figures;
    if (!top->has_figures) {
        if (top->connected && top->trouble[0] == '\0')
            put(line, "measuring for %.3g s", top->interval_s);
        return TOP_DIM;
    }
    put(line, "last %.1f s: %.1f rows/s", f->seconds, f->rows_per_s);
    put_latency(line, "p50", f->p50_ns);
    put_latency(line, "p99", f->p99_ns);
    if (isnan(f->dropped_per_s))
        return TOP_PLAIN;
    put(line, "  dropped %.1f/s", f->dropped_per_s);
    if (f->invalid_per_s > 0.0)
        put(line, "  invalid %.1f/s", f->invalid_per_s);
    put_latency(line, "queue", f->queue_ns);
    if (!isnan(f->scored_per_row))
        put(line, "  %.1f scored a row", f->scored_per_row);
    if (!isnan(f->batch_rows))
        put(line, "  %.1f rows a batch", f->batch_rows);
    return f->dropped_per_s > 0.0 || f->invalid_per_s > 0.0 ? TOP_NOTE : TOP_PLAIN;
}

static enum top_style memory(const struct top *top, struct line *line)
{
    const struct ctl_figures *f = &top->figures;
    char slots[32], heap[32], rate[32];
    bool known = top->has_figures && !isnan(f->hit_rate);
    if (known)
        put(line, "hits %.1f%%  ", 100.0 * f->hit_rate);
    put(line, "slots %u/%u %s  heap %s", top->after.resident, top->after.slots,
        ctl_bytes_text(top->after.slab_bytes, slots, sizeof slots),
        ctl_bytes_text(top->after.heap_bytes, heap, sizeof heap));
    if (top->has_figures)
        put(line, "  loads %.1f/s %s/s  evictions %.1f/s", f->loads_per_s,
            ctl_bytes_text((uint64_t)f->load_bytes_per_s, rate, sizeof rate), f->evictions_per_s);
    return known && f->hit_rate < 0.9 ? TOP_NOTE : TOP_PLAIN;
}

static enum top_style daemon_line(const struct top *top, struct line *line)
{
    const struct ctl_sample *s = &top->after;
    char up[32];
    put(line, "lensd %s on %s, up %s  %u %s", s->version, s->backend, ctl_duration_text(s->uptime_ns, up, sizeof up),
        s->packs, s->packs == 1 ? "pack" : "packs");
    if (top->operator_) /* others hear of those of their own connection alone: none */
        put(line, "  %u %s", s->sessions, s->sessions == 1 ? "session" : "sessions");
    if (top->session != 0)
        put(line, "  showing session %u", top->session);
    if (top->pack != NULL)
        put(line, "  showing pack %s", top->pack);
    put(line, "  %s", s->device);
    return TOP_BOLD;
}

static enum top_style list(const struct top *top, uint32_t shown, struct line *line)
{
    const struct top_model *m = &top->model;
    uint32_t watched = top_model_watched(m);
    put(line, "%u", shown);
    if (top->filter[0] != '\0')
        put(line, " of %u", m->n);
    put(line, " %s by %s", m->n == 1 ? "concept" : "concepts", top_sort_names[top->sort]);
    if (top->min_score > 0.0f)
        put(line, ", scores from %.3g", (double)top->min_score);
    if (top->filter[0] != '\0')
        put(line, "  filter %s", top->filter);
    if (watched > 0)
        put(line, "  %u watched", watched);
    if (top->feed.lost > 0)
        put(line, "  %llu rows not seen", (unsigned long long)top->feed.lost);
    if (m->unnamed > 0)
        put(line, "  %llu detections of packs that are gone", (unsigned long long)m->unnamed);
    if (m->forgotten > 0)
        put(line, "  %llu concepts forgotten (room for %u)", (unsigned long long)m->forgotten, m->capacity);
    return TOP_PLAIN;
}

enum top_style top_header(const struct top *top, enum top_header which, uint32_t shown, char *out, size_t size)
{
    struct line line = {out, size, 0};
    out[0] = '\0';
    switch (which) {
    case TOP_SERVICE:
        return service(top, &line);
    case TOP_WORK:
        return work(top, &line);
    case TOP_MEMORY:
        return memory(top, &line);
    case TOP_DAEMON:
        return daemon_line(top, &line);
    default:
        return list(top, shown, &line);
    }
}

_Static_assert(TOP_TREND == 4 && TOP_CAPACITY == 4096, "as the help below and `lensctl help top` say");

const char *const *top_help(void)
{
    static const char *const lines[] = {"q        quit",
                                        "s        sort by score, rate, trend, name",
                                        "/        filter: a GLOB of \"Name:layer\", or a part of it;",
                                        "         Enter takes it, Escape leaves it; Escape later drops it",
                                        "w        watch the marked concept, or no longer:",
                                        "         watched ones (*) stay on top, also when silent",
                                        "p        pause: the daemon remembers meanwhile what it can",
                                        "+ -      longer, shorter interval",
                                        "arrows   mark another row; Page Up, Page Down, Home, End",
                                        "h        this text",
                                        "",
                                        "score    decayed maximum: the highest score, halved every 10 s",
                                        "last     the score of the latest detection",
                                        "arrow    mean of the last 4 intervals against the 4 before:",
                                        "         up or down when they differ by 0.05 or more",
                                        "history  highest score of each interval, 0 to 1, newest right",
                                        "per s    detections per second in the last interval",
                                        "below    the concepts above it in the hierarchy",
                                        "",
                                        "Of each row the daemon remembers the first 16 detections;",
                                        "scores below --min count as nothing.",
                                        NULL};
    return lines;
}
