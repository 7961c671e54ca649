/* The command table: everything lensctl can do, in the order of --help. */
#include "client/lensctl/commands.h"

#include "client/lensctl/bench.h"
#include "client/lensctl/timeline.h"

#include "client/lensctl/top_model.h"
#include "daemon/cache/policy.h"
#include "proto/wire.h"

#include <string.h>

static const char *const pack_dtypes[] = {"f32", "bf16", "int8", "log8", NULL};
static const char *const pack_normalizes[] = {"layernorm", "none", NULL};

static const struct ctl_flag global_flags[] = {
    {"--socket", "PATH", CTL_TEXT, .help = "where lensd listens", .words = CTL_WORDS_FILE,
     .fallback = "$LENSD_SOCKET, then the user's, then the system's"},
    {"--json", NULL, CTL_SWITCH, .help = "JSON with a schema_version"},
    {"--help", NULL, CTL_SWITCH, .help = "this text, or a command's"},
    {"-h", NULL, CTL_SWITCH, .help = "the same"},
    {"--version", NULL, CTL_SWITCH, .help = "the version of lensctl"},
    {0},
};

static const struct ctl_flag pack_flags[] = {
    {"--pack", "NAME", CTL_TEXT, .help = "a loaded pack", .fallback = "the first", .words = CTL_WORDS_PACK},
    {0},
};

static const struct ctl_flag pin_flags[] = {
    {"--alone", .help = "the concept without what is below it"},
    {.more = pack_flags},
};

static const struct ctl_flag explain_flags[] = {
    {"--score", "P", CTL_REAL, 0, 1, .help = "explain this raw score", .fallback = "none"},
    {"--logit", "L", CTL_REAL, -1000, 1000, .help = "the same, for a score so near to 0 or 1 that it doesn't tell",
     .fallback = "none"},
    {.more = pack_flags},
};

/* What a session may choose of its cascade. */
static const struct ctl_flag scoring_flags[] = {
    {"--base", "LAYERS", CTL_TEXT, .help = "layers scored on every row, like 0,1", .fallback = "cascade.base_layers"},
    {"--pin", "CONCEPT[,..]", CTL_TEXT, .help = "concepts scored on every row besides", .words = CTL_WORDS_CONCEPTS,
     .fallback = "cascade.pin alone"},
    {"--include", "PATTERN[,..]", CTL_TEXT, .help = "score these alone, and what stands above them",
     .words = CTL_WORDS_CONCEPTS, .fallback = "cascade.include alone"},
    {"--exclude", "PATTERN[,..]", CTL_TEXT,
     .help = "never score or report these, nor what is reached through them alone", .words = CTL_WORDS_CONCEPTS,
     .fallback = "cascade.exclude alone"},
    {"--filter", "PATTERN[,..]", CTL_TEXT, .help = "report these alone; what is scored stays the same",
     .words = CTL_WORDS_CONCEPTS, .fallback = "cascade.filter alone"},
    {"--expand", NULL, CTL_CHOICE, .choices = lens_expand_names, .help = "which concepts' children are scored next",
     .fallback = "cascade.expand"},
    {"--load-threshold", "X", CTL_REAL, 0, 1, .help = "raw score above which a concept expands",
     .fallback = "cascade.load_threshold"},
    {"--max-depth", "N", CTL_INTEGER, 0, 64, .help = "expansion steps", .fallback = "cascade.max_depth"},
    {.more = pack_flags},
};

static const struct ctl_flag detect_flags[] = {
    {"--rows", "N", CTL_INTEGER, 1, LENS_MAX_ROWS, .help = "rows of one submission", .fallback = "1"},
    {"--top-k", "K", CTL_INTEGER, 1, LENS_MAX_TOP_K, .help = "detections of a row", .fallback = "cascade.top_k"},
    {"--max-scored", "N", CTL_INTEGER, 0, INT32_MAX, .help = "lenses of a row beyond those always scored",
     .fallback = "cascade.max_scored"},
    {"--report", NULL, CTL_CHOICE, .choices = lens_report_names, .help = "which scored concepts may be detections",
     .fallback = "cascade.report"},
    {"--rank", NULL, CTL_CHOICE, .choices = lens_rank_names, .help = "the score that orders detections",
     .fallback = "cascade.rank"},
    {"--uncalibrated", NULL, CTL_CHOICE, .choices = lens_uncalibrated_names,
     .help = "calibrated score of a lens without calibration", .fallback = "cascade.uncalibrated"},
    {"--suppress-parents", NULL, CTL_SWITCH, .help = "drop a concept when one of its children stands for it",
     .fallback = "cascade.suppress_parents"},
    {"--min-score", "X", CTL_REAL, 0, 1, .help = "print only detections that score at least so much", .fallback = "0"},
    {"--suppress-at", "X", CTL_REAL, 0, 1, .help = "score from which a child stands for its parent",
     .fallback = "cascade.suppress_at"},
    {"--keep-top-k", "N", CTL_INTEGER, -1, INT32_MAX, .help = "lenses kept from submission to submission; -1 all",
     .fallback = "cascade.keep_top_k"},
    {"--unload-threshold", "X", CTL_REAL, 0, 1, .help = "raw score below which a lens is not kept",
     .fallback = "cascade.unload_threshold"},
    {"--miss", NULL, CTL_CHOICE, .choices = lens_miss_names, .help = "what to do about lenses that are not in a slot",
     .fallback = "cascade.miss"},
    {"--deadline", "US", CTL_INTEGER, 1, INT32_MAX, .help = "with --miss deadline: microseconds after submission",
     .fallback = "none"},
    {.more = scoring_flags},
};

/* Of detect's flags those that change what is scored. */
static const struct ctl_flag timeline_flags[] = {
    {"--html", "FILE", CTL_TEXT, .help = "write a page for the browser, complete in itself; an older one is replaced",
     .words = CTL_WORDS_FILE, .fallback = "the map goes to the terminal"},
    {"--concepts", "N", CTL_INTEGER, 1, TIMELINE_MAX_CONCEPTS, .help = "show the N concepts with the best scores",
     .fallback = "20 in the terminal, else 200"},
    {"--concept", "GLOB", CTL_TEXT, .help = "of those that match only, as in 'Deception:*'", .fallback = "all",
     .words = CTL_WORDS_CONCEPT},
    {"--min", "S", CTL_REAL, 0, 1, .help = "leave out concepts that never score so much", .fallback = "0.3"},
    {"--sort", NULL, CTL_CHOICE, .choices = timeline_sort_names,
     .help = "order of the concepts: by first appearance (a score of --min), best score, or parents before children",
     .fallback = "first"},
    {"--sequence", "N", CTL_INTEGER, 0, 9e15, .help = "with a session: that one of its sequences",
     .fallback = "the one that sent a row last"},
    {"--narrow", NULL, CTL_SWITCH, .help = "in the terminal: one column a token, without texts and numbers"},
    {"--report", NULL, CTL_CHOICE, .choices = lens_report_names,
     .help = "which scored concepts have a score in the map", .fallback = "all"},
    {"--rows", "N", CTL_INTEGER, 1, LENS_MAX_ROWS, .help = "rows of one submission", .fallback = "1"},
    {"--rank", NULL, CTL_CHOICE, .choices = lens_rank_names, .help = "the score that orders detections",
     .fallback = "cascade.rank"},
    {"--keep-top-k", "N", CTL_INTEGER, -1, INT32_MAX, .help = "lenses kept from submission to submission; -1 all",
     .fallback = "cascade.keep_top_k"},
    {.more = scoring_flags},
};

static const struct ctl_flag tail_flags[] = {
    {"--concept", "GLOB", CTL_TEXT, .help = "detections of concepts that match only, as in 'Deception:*'",
     .fallback = "all", .words = CTL_WORDS_CONCEPT},
    {"--min", "S", CTL_REAL, 0, 1, .help = "detections that score at least so much", .fallback = "0.5"},
    {"--session", "S", CTL_INTEGER, 1, UINT32_MAX, .help = "one session's rows only (its number in `lensctl sessions`)",
     .fallback = "all that you may see", .words = CTL_WORDS_SESSION},
    {"--all-rows", NULL, CTL_SWITCH,
     .help = "rows without such a detection, too (those that raised a rule always come)"},
    {"--alerts", NULL, CTL_SWITCH,
     .help = "only rows that raised one of the daemon's rules (lensctl rules), whatever they detected"},
    {"--from", "N|start|now", CTL_TEXT, .help = "begin with event N, or with the oldest that lensd remembers",
     .fallback = "now"},
    {"--rows", "N", CTL_INTEGER, 1, 1e12, .help = "end after so many rows", .fallback = "any number"},
    {"-n", "N", CTL_INTEGER, 1, 1e12, .help = "the same", .fallback = "any number"},
    {"--seconds", "S", CTL_REAL, 0, 31536000,
     .help = "end after so long; with --from, what is remembered is shown all the same", .fallback = "until ^C"},
    {"--interval", "S", CTL_REAL, 0.01, 60, .help = "ask lensd anew after so long", .fallback = "0.2"},
    {0},
};

static const struct ctl_flag session_flags[] = {
    {"--session", "S", CTL_INTEGER, 1, UINT32_MAX, .help = "one session's rows only (its number in `lensctl sessions`)",
     .fallback = "everybody's", .words = CTL_WORDS_SESSION},
    {0},
};

static const struct ctl_flag rules_flags[] = {
    {"--session", "S", CTL_INTEGER, 1, UINT32_MAX,
     .help = "what that session's rules read last, in one of its sequences (its number in `lensctl sessions`)",
     .fallback = "the rules themselves", .words = CTL_WORDS_SESSION},
    {"--sequence", "N", CTL_INTEGER, 0, 9e15, .help = "with --session: in which of its sequences", .fallback = "0"},
    {0},
};

static const struct ctl_flag top_flags[] = {
    {"--interval", "SEC", CTL_REAL, 0.1, 3600, .help = "seconds of an interval", .fallback = "1"},
    {"--pack", "NAME", CTL_TEXT, .help = "one pack's concepts only", .fallback = "all", .words = CTL_WORDS_PACK},
    {"--filter", "GLOB", CTL_TEXT, .help = "show these alone: matched against \"Name:layer\", or a part of it",
     .words = CTL_WORDS_CONCEPT, .fallback = "all"},
    {"--watch", "CONCEPT[,..]", CTL_TEXT, .help = "keep these on top, also when they are silent",
     .words = CTL_WORDS_CONCEPTS, .fallback = "none"},
    {"--min", "S", CTL_REAL, 0, 1, .help = "detections that score at least so much", .fallback = "0.1"},
    {"--sort", NULL, CTL_CHOICE, .choices = top_sort_names, .help = "what the others are ordered by",
     .fallback = "score"},
    {"--once", NULL, CTL_SWITCH, .help = "print one snapshot after one interval; needs no terminal"},
    {.more = session_flags},
};

static const struct ctl_flag dmon_flags[] = {
    {"-d", "SEC", CTL_REAL, 0.1, 86400, .help = "seconds between two lines", .fallback = "1"},
    {"-c", "N", CTL_INTEGER, 1, INT64_C(1) << 53, .help = "end after so many lines", .fallback = "goes on until ^C"},
    {.more = session_flags},
};

static const struct ctl_flag import_flags[] = {
    {"-o", "FILE", CTL_TEXT, .required = true, .help = "the pack to write; an older one is replaced at the end",
     .words = CTL_WORDS_FILE},
    {"--dtype", NULL, CTL_CHOICE, .choices = pack_dtypes, .help = "how first-layer weights are stored",
     .fallback = "f32"},
    {"--normalize", NULL, CTL_CHOICE, .choices = pack_normalizes,
     .help = "what is done to hidden states before scoring", .fallback = "layernorm"},
    {0},
};

static const struct ctl_flag quantize_flags[] = {
    {"-o", "FILE", CTL_TEXT, .help = "the pack to write; an older file of that name is replaced", .required = true,
     .words = CTL_WORDS_FILE},
    {"--dtype", NULL, CTL_CHOICE, .choices = pack_dtypes, .help = "how the new pack stores W1", .required = true},
    {0},
};

static const struct ctl_flag trace_flags[] = {
    {"-o", "FILE", CTL_TEXT, .required = true, .help = "the trace to write; an older one is replaced",
     .words = CTL_WORDS_FILE},
    {"--seconds", "N", CTL_INTEGER, 1, 31536000, .help = "end after so long", .fallback = "until ^C"},
    {"--rows", "N", CTL_INTEGER, 1, 1e12, .help = "end after so many rows", .fallback = "any number"},
    {.more = pack_flags},
};

static const struct ctl_flag cache_sim_flags[] = {
    {"--slots", "N|P%[,..]", CTL_TEXT, .help = "lenses held beside the base, or percent of the pack",
     .fallback = "2%,5%,10%"},
    {"--policy", NULL, CTL_CHOICE, .choices = lensd_cache_policy_names, .help = "only this policy", .fallback = "all"},
    {"--prefetch", "N", CTL_INTEGER, 1, 1 << 20, .help = "with the predictor: so many lenses after a row, at most",
     .fallback = "none"},
    {0},
};

static const struct ctl_flag load_flags[] = {
    {"--name", "NAME", CTL_TEXT, .help = "what to call it", .fallback = "the file's name without its ending"},
    {0},
};
static const struct ctl_flag swap_flags[] = {
    {"--name", "NAME", CTL_TEXT, .help = "the loaded pack to replace", .fallback = "the first",
     .words = CTL_WORDS_PACK},
    {0},
};

static const struct ctl_flag bench_flags[] = {
    {"--seconds", "S", CTL_REAL, 0.05, 3600, .help = "how long to measure", .fallback = "5"},
    {"--rows", "N", CTL_INTEGER, 1, LENS_MAX_ROWS, .help = "rows of one submission",
     .fallback = "1; batch 64, stream 16"},
    {"--states", "FILE", CTL_TEXT, .help = "hidden states to send, again and again", .fallback = "random ones",
     .words = CTL_WORDS_FILE},
    {"--spin", "US", CTL_INTEGER, 0, 1000000, .help = "microseconds to look for an answer before sleeping",
     .fallback = "100"},
    {.more = pack_flags},
};

static const struct ctl_command commands[] = {
    {.name = "status",
     .summary = "daemon, device, packs, latency, degradation: one screen",
     .json = "version, pid, uptime_ns, start_time_ns, backend, device, variant, reason, threads, packs, pack_names, "
             "sessions, "
             "counts of rows and lenses, memory in bytes, degraded and loading (empty = no), p50_ns, p99_ns, and the "
             "counts of the cache.",
     .run = ctl_run_status},
    {.name = "packs",
     .summary = "the loaded packs",
     .json = "packs: a list of name, path, model_id, tap_layer, tap_point, dtype, slab_dtype, compute, lenses, dim, "
             "h1, h2, generation, sessions, slots, resident, file_bytes, policy, lens_bytes, slot_bytes, "
             "host_resident, host_slots, pinned (lenses at run time), pins (of which branches).",
     .run = ctl_run_packs},
    {.name = "sessions",
     .summary = "who is attached (an operator sees everyone)",
     .json = "sessions: a list of session, label, pid, uid, pack, sequences, rows, dropped, memory_bytes, p50_ns, "
             "p99_ns, age_ns.",
     .run = ctl_run_sessions},
    {.name = "rules",
     .summary = "the daemon's rules on content, and how often each was raised",
     .details =
         "Rules are the setting alerts.rules (lensd.conf(5)). A row that raises one has the flag ALERT; it and the "
         "rows "
         "after\nit carry the rule's verdict, until what is said calms down. Sessions keep the rules that held when "
         "they were opened;\nthose that were configured earlier are shown without their text.\nWith --session: the "
         "reading of the sequence's last row, smoothed; for rules "
         "with a deviation also how many standard\ndeviations it lay above the mean of the 100 before it (none under "
         "ten), "
         "and the mean of the last 100 less that of the last 500.",
     .json = "rules: a list of name, action, raised (since lensd began), rule (null = not configured any more), id (as "
             "in a result's verdict_rule). With --session: readings: a list of name, action, raised (now), reading and "
             "smoothed "
             "(0 to 1), deviation (in standard deviations), trend, id; null = none yet, or not of that rule.",
     .flags = rules_flags,
     .run = ctl_run_rules},
    {.name = "config",
     .arguments = {{.name = "GLOB", .optional = true, .words = CTL_WORDS_SETTING}},
     .summary = "every setting with its value and where it came from",
     .details =
         "GLOB is matched against \"section.setting\", with * ? and [..], as in 'cache.*'. \"from\" names the line of\n"
         "the file, the variable or the flag. \"reload\" says what a reload (SIGHUP) changes the setting for: all at\n"
         "once, or only sessions or packs that are new then; restart = nothing before the next start.\n"
         "\"waits\" shows a value that waits for that, or how many loaded packs were made before the last change:\n"
         "lensctl swap makes a pack anew. On a terminal what a setting is, and long values, are shown for those asked "
         "for.",
     .json = "settings: a list of name, value, origin, place, default, live, applies, pending, older_packs, help.",
     .run = ctl_run_config},
    {.name = "concepts",
     .arguments = {{.name = "GLOB", .optional = true, .words = CTL_WORDS_CONCEPT}},
     .summary = "the concept hierarchy, or the concepts that match",
     .details =
         "GLOB is matched against \"Name:layer\", with * ? and [..]. Without it the whole hierarchy is printed,\n"
         "each concept below its primary parent.",
     .flags = pack_flags,
     .json = "pack, generation, concepts: a list of concept, id, parent, parent_id, layer, role, children, calibrated, "
             "resident.",
     .run = ctl_run_concepts},
    {.name = "branch",
     .arguments = {{.name = "CONCEPT", .words = CTL_WORDS_CONCEPT}},
     .summary = "what a concept and all below it said last, as a tree (operators)",
     .details = "last is the raw score of the last row that scored the lens, whoever's that was, ago how long ago; "
                "peak\nthe highest score of the last 30 to 60 seconds. rows are those that scored it since the pack "
                "is served,\nhits those of them above 0.5. A concept with several parents stands below one of them.",
     .flags = pack_flags,
     .json = "pack, generation, concepts: a list of concept, id, parent, layer, last_score, last_logit, peak_score, "
             "peak_logit (null = none), age_s, rows, hits, resident, pinned.",
     .run = ctl_run_branch},
    {.name = "explain",
     .arguments = {{.name = "CONCEPT", .words = CTL_WORDS_CONCEPT}},
     .summary = "path, children, calibration, when it is reported, and why a score looks as it does",
     .details =
         "CONCEPT is \"Name:layer\", \"Name\" when only one layer has it, or an id. With --score or --logit: how this "
         "score\n"
         "becomes a calibrated one, step by step, and which thresholds it passes.",
     .flags = explain_flags,
     .json = "concept, id, generation, layer, role, resident, path and children (lists of concept and id), "
             "children_total, calibration, why and when (sentences), examples (raw, calibrated), with --score or "
             "--logit score (raw, logit, calibrated, steps), recent (rows, seconds, reported, last_time, last_session, "
             "last_score, best_score; null when lensd remembers no rows).",
     .run = ctl_run_explain},
    {.name = "detect",
     .arguments = {{.name = "FILE", .words = CTL_WORDS_FILE}},
     .summary = "score the hidden states in FILE: one line per row",
     .details =
         "FILE is .npy (f32 or f16, [rows,dim] or [dim]) or .safetensors (f32, f16 or bf16: the tensor\n"
         "\"hidden_states\", or the only one of two dimensions; metadata \"tokens\" may hold a JSON list with a text "
         "for\n"
         "each row). All rows are one sequence, and a submission waits for the one before, as when a model generates.\n"
         "Options that aren't given are the settings of the daemon (`lensctl config`). With --json each row is an "
         "object on a\n"
         "line of its own. A row that can't be scored is printed as INVALID_INPUT; the exit code stays 0. FLAG or STOP "
         "and "
         "a name are\nthe verdict of one of the daemon's rules (`lensctl rules`).\n"
         "A PATTERN is matched against the whole \"Name:layer\", with * ? and [..]; one that ends in /* takes "
         "everything\n"
         "below as well, as in 'Deception:1/*'. It must match something. The daemon's own lists hold besides.",
     .flags = detect_flags,
     .json = "a line for each row: row, token, status, flags, reason, verdict (action, rule, raised: whether this row "
             "raised it; null = none), scored, expanded, detections (concept, id, score, raw, logit, path), timing_ns, "
             "counts, generation.",
     .run = ctl_run_detect},
    {.name = "tail",
     .summary = "detections as they happen, until ^C: a line for each row",
     .details =
         "On a terminal a line is text; piped, or with --json, it is an object: event (its number), time, session,\n"
         "sequence, position, tag, token_id, status, flags, verdict (null, or action, rule, and raised: whether this "
         "row "
         "raised\n"
         "it), generation, scored, expanded, reported (how many detections the row had), detections (the best 16 of "
         "them at most, and of these those that are asked for), timing_ns.\n"
         "lensd remembers a bounded number of rows (telemetry.events): whoever reads too slowly loses some, and gets a "
         "line\n"
         "{\"lost\": how many}. A line {\"daemon\": \"away\" | \"back\" | \"restarted\"} tells of lensd itself; one "
         "that was\n"
         "restarted counts events from 1 again. To go on after event N of the same lensd: --from N+1. Everybody sees "
         "the rows of\n"
         "their own sessions, operators those of all.",
     .flags = tail_flags,
     .json = "a line for each row; its members are named above.",
     .run = ctl_run_tail},
    {.name = "timeline",
     .arguments = {{.name = "FILE|SESSION", .words = CTL_WORDS_FILE_OR_SESSION}},
     .summary = "which concept scored what on which token: a heat map here, or a page for the browser",
     .details =
         "FILE is scored as by `lensctl detect`, which says what it may be; here everything that is scored gets into "
         "the\n"
         "map. A cell without a score is a concept that wasn't scored for that token (its parents scored too low), or "
         "not\n"
         "among the token's 256 best.\n"
         "SESSION is a number of `lensctl sessions` (./5 is a file): the rows of one of its sequences that lensd "
         "remembers,\n"
         "with the best 16 of the detections that were reported for each; tokens are told by their positions. The "
         "flags that\n"
         "say what is scored change nothing then.\n"
         "Piped, the map is a table with tabs, a column for each token; with --json it comes with raw scores, logits "
         "and\n"
         "paths.",
     .flags = timeline_flags,
     .json = "source, pack, scores_are, tokens (row, token, token_id, status, flags), concepts_matching, concepts "
             "(concept, "
             "path, best, best_row, first_row, scores and logits, one for each token); with --html: file, bytes, "
             "tokens, concepts.",
     .run = ctl_run_timeline},
    {.name = "latency",
     .summary = "where the time of a row goes: stages with percentiles, cache hits",
     .details =
         "The first table has lensd's stages: queue (until its batch begins), copy_in (read and normalised), base "
         "(what is\n"
         "always scored), load (waiting for lenses), expand (children, level by level), select (report and retained "
         "set),\n"
         "copy_out, and total (from submission to result). The second has the same rows in the stages of HatCat's own\n"
         "table: initial detection = base, child loading = load (eviction included), child detection = expand, cache\n"
         "management = select, total = total; its rest is queue, copy_in and copy_out, which that table doesn't know.\n"
         "share is of the mean total. In JSON: stages_ns and hatcat_stages_ns.",
     .flags = session_flags,
     .json = "session, rows and their counts, stages_ns and hatcat_stages_ns (by stage: count, p50, p90, p99, p99.9, "
             "max, mean).",
     .run = ctl_run_latency},
    {.name = "top",
     .summary = "what fires now: concepts by score with history and trend, and how the daemon is",
     .details =
         "score is the decayed maximum: the highest score so far, halved every 10 s; last is the latest detection's. "
         "The\nhistory has the highest score of each interval, newest on the right. The arrow compares the mean of "
         "its last 4\nintervals with the 4 before: up or down when they differ by 0.05 or more. Scores below --min "
         "count as\nnothing. Of each row the daemon remembers the first 16 detections. Rows that came faster than they "
         "could be taken,\nand concepts beyond "
         "4096, are counted. p50 and p99 are of the rows of the last interval.\n"
         "Keys: q quit, s sort, / filter, w watch the marked concept, p pause, + and - interval, h help, arrows and "
         "page\nkeys. When the daemon goes away it says so and goes on as soon as it is back. Operators see "
         "everybody's rows,\nothers those of their own user.",
     .flags = top_flags,
     .json = "with --once: seconds, everyone, min_score, daemon, figures, rows_not_seen, alerts (rows that raised a "
             "rule), detections, "
             "detections_without_a_name, concepts_forgotten, sort, concepts: a list of concept, pack, id, generation, "
             "layer, watched, score, last, trend, per_s, detections, history, path.",
     .run = ctl_run_top},
    {.name = "dmon",
     .summary = "one line of figures per interval: CSV, or JSON lines",
     .details =
         "The first line names the columns, each other one is about the interval before it. p50_us and p99_us are of "
         "the\nrows answered in it (within 1%), from submission to result; queue_us is their mean wait for a batch, "
         "batch_rows\nthe mean batch, hit_rate (0..1) how much of what they wanted was in a slot. load_mb_per_s is in "
         "10^6 bytes.\nEmpty: there was nothing to measure. queued (submissions), sessions, slots, bytes and degraded "
         "(empty = full "
         "service) are as they\nare at its end. With --session the columns about rows are the session's, loads and "
         "evictions still everyone's.\n^C ends it with exit code 0; when the daemon goes away the code is 3.",
     .flags = dmon_flags,
     .json = "a line for each interval: time, seconds, the columns, degraded.",
     .run = ctl_run_dmon},
    {.name = "pack import hatcat",
     .arguments = {{.name = "DIR", .words = CTL_WORDS_DIRECTORY}},
     .summary = "make a lens pack of a HatCat lens pack directory",
     .details = "Pickle files are parsed, never executed. Nothing is written when something is wrong with DIR.",
     .flags = import_flags,
     .json = "file, dtype, bytes, lenses, dim, h1, h2, max_layer, with_layernorm, calibrated, source, and lists of "
             "what was left out: concepts_without_lens, lenses_not_listed, several_parents, unreachable.",
     .run = ctl_run_pack_import},
    {.name = "pack inspect",
     .arguments = {{.name = "FILE", .words = CTL_WORDS_FILE}},
     .summary = "a pack's metadata, tensors and layers",
     .json = "file, bytes, lenses, dim, h1, h2, dtype, metadata, tensors (name, dtype, shape, bytes), layers (layer, "
             "lenses, with_children, calibrated).",
     .run = ctl_run_pack_inspect},
    {.name = "pack verify",
     .arguments = {{.name = "FILE", .words = CTL_WORDS_FILE}},
     .summary = "check a pack's structure and every checksum",
     .json = "file, ok, lenses, checksums, bytes.",
     .run = ctl_run_pack_verify},
    {.name = "pack quantize",
     .arguments = {{.name = "FILE", .words = CTL_WORDS_FILE}},
     .summary = "make a pack that stores the same lenses in another number format",
     .details =
         "W2 is stored as f32 when W1 is, else as bf16; all else stays as it is. The summary says what the weights of\n"
         "the new pack differ by from those of FILE. From int8 or log8 to a wider format the weights stay what the "
         "codes\n"
         "say: precision that was lost isn't regained. When FILE has that format already it is checked and copied.\n"
         "Nothing is written when FILE isn't sound or the work is interrupted, and FILE is never replaced.",
     .flags = quantize_flags,
     .json = "file, from, dtype, lenses, bytes_before, bytes, copied, widened, w1 and w2 (how far weights moved).",
     .run = ctl_run_pack_quantize},
    {.name = "trace record",
     .summary = "record what rows ask of the cache, as input of cache-sim (operators)",
     .details = "Records the rows of everybody on the pack until ^C, or as long as --seconds or --rows say. The rows\n"
                "themselves are not recorded: only which lenses they scored, with their logits. Rows that come faster\n"
                "than they can be written are left out and counted. One recording at a time.",
     .flags = trace_flags,
     .json = "file, rows, dropped_rows, bytes, ended_by.",
     .run = ctl_run_trace_record},
    {.name = "cache-sim",
     .arguments = {{.name = "TRACE", .words = CTL_WORDS_FILE}},
     .summary = "what each cache policy would have done with a recorded trace, against Belady's optimum",
     .details =
         "TRACE is a file of `lensctl trace record`. Base lenses are neither counted nor held in the slots. A miss "
         "is a\nlens that a row waited for; \"x Belady\" divides the misses by the fewest possible without prefetch, "
         "which\nthe policy that knows the future has. No daemon is needed.",
     .flags = cache_sim_flags,
     .json = "lenses, rows, requests, distinct, most_a_row, cut, prefetch, sizes: a list of slots, belady and policies "
             "(policy, hits, misses, miss_ratio, times_belady and what prefetch did).",
     .run = ctl_run_cache_sim},
    {.name = "load",
     .arguments = {{.name = "PACK", .words = CTL_WORDS_FILE}},
     .summary = "load a pack file into the daemon (operators)",
     .flags = load_flags,
     .json = "done (a sentence), generation.",
     .run = ctl_run_load},
    {.name = "swap",
     .arguments = {{.name = "PACK", .words = CTL_WORDS_FILE}},
     .summary = "put a pack file in a loaded pack's place, without stopping anyone (operators)",
     .flags = swap_flags,
     .json = "done (a sentence), generation.",
     .run = ctl_run_swap},
    {.name = "preload",
     .arguments = {{.name = "PACK", .optional = true, .words = CTL_WORDS_PACK}},
     .summary = "fill a pack's empty slots while rows go on (operators)",
     .details =
         "PACK is the name of a loaded pack (default: the first). Lenses come in pack order, broad layers first.\n"
         "Without a bound on the slots (pool.slots) every lens has one. Answers when all are there.",
     .json = "done (a sentence), generation.",
     .run = ctl_run_preload},
    {.name = "pin",
     .arguments = {{.name = "CONCEPT", .words = CTL_WORDS_CONCEPT}},
     .summary = "score a concept and all below it for every row, until it is unpinned (operators)",
     .details = "Also for sessions that are attached already. Their own pins stay, and lenses that their lists of "
                "concepts\nexclude stay out. Refused when the slots don't hold them all. `lensctl packs` says what is "
                "pinned. A swap of\nthe pack keeps it, a restart doesn't: cascade.pin is for good.",
     .flags = pin_flags,
     .json = "done (a sentence), generation.",
     .run = ctl_run_pin},
    {.name = "unpin",
     .arguments = {{.name = "CONCEPT", .words = CTL_WORDS_CONCEPT}},
     .summary = "end what `lensctl pin` began (operators)",
     .details = "CONCEPT, and --alone, as they were pinned.",
     .flags = pin_flags,
     .json = "done (a sentence), generation.",
     .run = ctl_run_unpin},
    {.name = "unload",
     .arguments = {{.name = "NAME", .words = CTL_WORDS_PACK}},
     .summary = "take a loaded pack out of the daemon (operators)",
     .json = "done (a sentence), generation.",
     .run = ctl_run_unload},
    {.name = "shutdown",
     .summary = "end the daemon after the rows it has (operators)",
     .json = "done (a sentence), generation.",
     .run = ctl_run_shutdown},
    {.name = "bench",
     .arguments = {{.name = "NAME", .choices = bench_names}},
     .summary = "how fast this daemon scores this pack; uses its capacity while it runs",
     .details =
         "token: one row at a time, the next when the answer is there, as when a model generates. base: the same, with "
         "the\nbase layers alone. batch: many rows at a time, as of a prompt. stream: 16 submissions on their way at "
         "once, for the\nmost rows a second. Rows of others are scored meanwhile, and slow it down as it slows them "
         "down. Random rows expand\nother concepts than real ones do: give --states for figures that hold in use. The "
         "floor is what reading the weights\nof a row's lenses takes, measured here and now with as many threads as "
         "lensd scores with.",
     .json = "bench, pack, backend, random_rows, seconds, rows_a_submission, in_flight, submissions, rows, "
             "invalid_rows, rows_per_s, round_trip_ns and in_lensd_ns (p50, p90, p99, p99.9, max, mean), "
             "scored_per_row, loaded_per_row, missing_per_row, floor_ns (null where it isn't known).",
     .flags = bench_flags,
     .run = ctl_run_bench},
    {.name = "doctor",
     .summary = "what is missing or slow on this machine and in the daemon, and what to do",
     .details =
         "Works without a daemon too, and then looks at the machine alone. Each finding has a level: ok, note (worth\n"
         "knowing), warning (slower, or nearer to a limit, than it has to be) or problem (something doesn't work, or\n"
         "rows are lost), and an id that keeps its meaning. The exit code is 1 when there is a problem, else 0.\n"
         "Nothing is changed.",
     .json = "daemon_running, worst, findings: a list of id, level, found, do (null = nothing).",
     .run = ctl_run_doctor},
    {.name = "completion",
     .arguments = {{.name = "SHELL", .choices = ctl_shell_names}},
     .summary = "the script that completes lensctl's words in a shell",
     .details = "`make install` puts the scripts where the shells look. By hand, in bash:\n"
                "    eval \"$(lensctl completion bash)\"",
     .run = ctl_run_completion},
    {.name = "help",
     .arguments = {{.name = "COMMAND..", .optional = true, .many = true, .words = CTL_WORDS_COMMAND}},
     .summary = "this text, or more about a command",
     .json = "commands: a list of name, summary, details, json, arguments, flags; flags_of_every_command.",
     .run = ctl_run_help},
};

const struct ctl_command *ctl_commands(size_t *count)
{
    *count = sizeof commands / sizeof commands[0];
    return commands;
}

const struct ctl_flag *ctl_global_flags(void)
{
    return global_flags;
}

/* Past the ends of lists that go on elsewhere. */
static const struct ctl_flag *settle(const struct ctl_flag *flag)
{
    while (flag != NULL && flag->name == NULL)
        flag = flag->more;
    return flag;
}

const struct ctl_flag *ctl_flag_first(const struct ctl_flag *flags)
{
    return settle(flags);
}

const struct ctl_flag *ctl_flag_next(const struct ctl_flag *flag)
{
    return settle(flag + 1);
}

const struct ctl_flag *ctl_flag_find(const struct ctl_flag *flags, const char *text, unsigned *place)
{
    size_t length = strcspn(text, "=");
    unsigned at = 0;
    for (const struct ctl_flag *f = ctl_flag_first(flags); f != NULL; f = ctl_flag_next(f), at++) {
        if (strlen(f->name) != length || strncmp(f->name, text, length) != 0)
            continue;
        if (place != NULL)
            *place = at;
        return f;
    }
    return NULL;
}
