/* Writes a benchmark's JSON and says on which machine it ran; see report.h. */
#include "tests/bench/support/report.h"

#include "tests/bench/support/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static void trim(char *text)
{
    size_t length = strlen(text);
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == ' '))
        text[--length] = 0;
}

static void put_first_line(json_t *object, const char *key, const char *path)
{
    char line[256];
    FILE *file = fopen(path, "r");
    if (!file)
        return;
    if (fgets(line, sizeof line, file)) {
        trim(line);
        bench_put_text(object, key, line);
    }
    fclose(file);
}

static void put_processor(json_t *machine)
{
    char line[4096];
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (!value)
            continue;
        trim(line);
        if (strncmp(line, "model name", 10) == 0)
            bench_put_text(machine, "cpu", value + 2);
        if (strncmp(line, "flags", 5) == 0 && strstr(line, " hypervisor"))
            bench_put_text(machine, "virtualised", "yes");
    }
    if (file)
        fclose(file);
}

static json_t *describe_machine(void)
{
    json_t *machine = json_object();
    struct utsname system;
    put_processor(machine);
    bench_put(machine, "cores", bench_cpus());
    if (uname(&system) == 0)
        bench_put_text(machine, "kernel", system.release);
    bench_put(machine, "memory_bytes", (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE));
    bench_put(machine, "l3_bytes", (double)sysconf(_SC_LEVEL3_CACHE_SIZE));
    put_first_line(machine, "governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    put_first_line(machine, "huge_pages", "/sys/kernel/mm/transparent_hugepage/enabled");
    char date[32];
    time_t now = time(NULL);
    struct tm utc;
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    bench_put_text(machine, "date", date);
    return machine;
}

struct bench_report bench_report_begin(const char *name)
{
    struct bench_report report = {name, json_object(), json_object(), json_array()};
    bench_put_text(report.root, "benchmark", name);
    json_object_set_new(report.root, "machine", describe_machine());
    json_object_set_new(report.root, "settings", report.settings);
    json_object_set_new(report.root, "figures", report.figures);
    return report;
}

json_t *bench_report_figure(struct bench_report *report)
{
    json_t *figure = json_object();
    if (json_array_append_new(report->figures, figure) != 0)
        bench_die("no memory for the report");
    return figure;
}

void bench_put(json_t *object, const char *key, double value)
{
    double shown = value;
    if (isfinite(value) && value != floor(value)) {
        char text[32];
        snprintf(text, sizeof text, "%.6g", value);
        shown = strtod(text, NULL);
    }
    json_object_set_new(object, key,
                        !isfinite(shown)                              ? json_null()
                        : shown == floor(shown) && fabs(shown) < 1e15 ? json_integer((json_int_t)shown)
                                                                      : json_real(shown));
}

void bench_put_text(json_t *object, const char *key, const char *value)
{
    json_object_set_new(object, key, json_string(value));
}

void bench_report_end(struct bench_report *report)
{
    char name[64], path[4096];
    snprintf(name, sizeof name, "%s.json", report->name);
    bench_path_beside(name, path, sizeof path);
    if (json_dump_file(report->root, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) != 0)
        bench_die("%s can't be written", path);
    json_decref(report->root);
    printf("written: %s\n", path);
}
