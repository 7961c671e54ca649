/* See process_metrics.h. */
#include "daemon/process_metrics.h"

#include "daemon/heap.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

void lensd_process_reader_open(struct lensd_process_reader *reader)
{
    reader->descriptors = opendir("/proc/self/fd");
    reader->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
}

void lensd_process_reader_close(struct lensd_process_reader *reader)
{
    if (reader->descriptors != NULL)
        closedir(reader->descriptors);
    if (reader->statm >= 0)
        close(reader->statm);
    *reader = (struct lensd_process_reader){NULL, -1};
}

static double count_descriptors(DIR *descriptors)
{
    double n = 0;
    if (descriptors == NULL)
        return -1;
    rewinddir(descriptors);
    // cppcheck-suppress readdirCalled ; the directory is this reader's alone
    for (const struct dirent *entry; (entry = readdir(descriptors)) != NULL;)
        n += entry->d_name[0] != '.';
    return n;
}

static void read_memory(int statm, struct lensd_process_metrics *out)
{
    char text[128] = "", *end;
    double page = (double)sysconf(_SC_PAGESIZE);
    ssize_t n = statm >= 0 ? pread(statm, text, sizeof text - 1, 0) : -1;
    out->virtual_bytes = out->resident_bytes = -1;
    if (n <= 0)
        return;
    out->virtual_bytes = (double)strtoull(text, &end, 10) * page;
    out->resident_bytes = (double)strtoull(end, NULL, 10) * page;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return -1;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double most_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return -1;
    return (double)limit.rlim_cur;
}

void lensd_process_reader_read(const struct lensd_process_reader *reader, struct lensd_process_metrics *out)
{
    struct lensd_heap heap;
    read_memory(reader->statm, out);
    out->cpu_s = cpu_seconds();
    out->open_fds = count_descriptors(reader->descriptors);
    out->max_fds = most_descriptors();
    bool told = lensd_heap_read(&heap);
    out->heap_allocated = told ? (double)heap.allocated : -1;
    out->heap_active = told ? (double)heap.active : -1;
    out->heap_metadata = told ? (double)heap.metadata : -1;
    out->heap_resident = told ? (double)heap.resident : -1;
    out->heap_mapped = told ? (double)heap.mapped : -1;
    out->heap_retained = told ? (double)heap.retained : -1;
}
