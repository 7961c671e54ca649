/* The rings of ring.h between two threads that sleep and wake at random: nothing lost, torn, reordered or left asleep.
 * Meant for ThreadSanitizer as well. */
#include "tests/unit/support/ring_pair.h"

#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SUBMISSIONS = 20000, PATIENCE_MS = 20000 };

struct stress {
    struct pair pair;
    int doorbell;
    unsigned seed;
    bool failed; /* of the daemon's thread; read after joining it */
};

static unsigned char pattern(uint64_t serial, uint32_t row)
{
    return (unsigned char)(serial * 31 + row * 7 + 1);
}

/* True when work waits; false after a doorbell that never rang. */
static bool daemon_waits(struct stress *s)
{
    struct pollfd bell = {.fd = s->doorbell, .events = POLLIN};
    uint64_t rings;
    lens_ring_server_set_sleeping(&s->pair.server, true);
    bool there = lens_ring_server_pending(&s->pair.server) || poll(&bell, 1, PATIENCE_MS) == 1;
    lens_ring_server_set_sleeping(&s->pair.server, false);
    if (read(s->doorbell, &rings, sizeof rings) < 0)
        rings = 0;
    return there;
}

static bool daemon_answers(struct stress *s, const struct lens_submit_descriptor *d)
{
    const unsigned char *rows = lens_ring_server_rows(&s->pair.server, d);
    const size_t row_bytes = DIM * lens_dtype_bytes((enum lens_dtype)d->dtype);
    for (uint32_t row = 0; row < d->rows; row++) {
        struct lens_result result;
        for (size_t i = 0; i < row_bytes; i++) {
            if (rows[row * row_bytes + i] != pattern(d->serial, row))
                return false;
        }
        if (!lens_ring_server_reserve(&s->pair.server, &result))
            return false; /* an honest client never owes too much */
        memset(result.header, 0, sizeof *result.header);
        result.header->serial = d->serial;
        result.header->row = row;
        result.header->rows = d->rows;
        result.header->detections = 1;
        result.detections[0] = (struct lens_detection){.id = d->serial ^ row};
        lens_ring_server_publish(&s->pair.server);
    }
    return true;
}

static void daemon_wakes_client(struct stress *s)
{
    enum lens_client_sleep how;
    if (lens_ring_server_wake_due(&s->pair.server, &how) && how == LENS_CLIENT_ON_FUTEX)
        syscall(SYS_futex, &s->pair.header->result_futex, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void *daemon_thread(void *context)
{
    struct stress *s = context;
    unsigned seed = s->seed + 1;
    for (unsigned served = 0; served < SUBMISSIONS && !s->failed;) {
        struct lens_submit_descriptor d;
        int r = lens_ring_server_take(&s->pair.server, &d);
        if (r == 1) {
            s->failed = !daemon_answers(s, &d);
            lens_ring_server_release(&s->pair.server, 1);
            daemon_wakes_client(s);
            served++;
        } else if (r == 0 && rand_r(&seed) % 2 == 0) {
            s->failed = !daemon_waits(s);
        } else {
            s->failed = r < 0;
        }
    }
    return NULL;
}

static bool client_sends(struct stress *s, uint64_t serial, unsigned *seed)
{
    struct lens_submit_descriptor d;
    void *place;
    const uint64_t one = 1;
    uint32_t rows = 1 + (uint32_t)rand_r(seed) % MAX_ROWS;
    uint8_t dtype = (uint8_t)(rand_r(seed) % 3);
    if (lens_ring_client_acquire(&s->pair.client, rows, dtype, rand_r(seed) % 2, &d, &place, NULL) != 0)
        return false;
    const size_t row_bytes = DIM * lens_dtype_bytes((enum lens_dtype)dtype);
    for (uint32_t row = 0; row < rows; row++)
        memset((unsigned char *)place + row * row_bytes, pattern(serial, row), row_bytes);
    if (lens_ring_client_submit(&s->pair.client, &d))
        assert_int_equal(write(s->doorbell, &one, sizeof one), sizeof one);
    return true;
}

static void client_waits(struct stress *s)
{
    struct lens_result result;
    uint32_t value;
    const struct timespec patience = {.tv_sec = PATIENCE_MS / 1000};
    uint32_t *word = lens_ring_client_set_sleeping(&s->pair.client, LENS_CLIENT_ON_FUTEX, &value);
    if (!lens_ring_client_peek(&s->pair.client, &result)) {
        long r = syscall(SYS_futex, word, FUTEX_WAIT, value, &patience, NULL, 0);
        assert_false(r != 0 && errno == ETIMEDOUT); /* a wake-up was lost */
    }
    lens_ring_client_set_sleeping(&s->pair.client, LENS_CLIENT_AWAKE, NULL);
}

static void nothing_is_lost_between_two_threads(void **state)
{
    struct stress s = {.seed = 4711};
    pthread_t daemon;
    unsigned seed = s.seed;
    uint64_t sent = 0, finished = 0;
    uint32_t next_row = 0;
    (void)state;
    print_message("seed %u\n", s.seed);
    open_pair(&s.pair, 2 * largest() + 192);
    s.doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(s.doorbell >= 0);
    assert_int_equal(pthread_create(&daemon, NULL, daemon_thread, &s), 0);
    while (finished < SUBMISSIONS) {
        struct lens_result result;
        if (sent < SUBMISSIONS && rand_r(&seed) % 3 != 0 && client_sends(&s, sent, &seed)) {
            sent++;
        } else if (lens_ring_client_peek(&s.pair.client, &result)) {
            assert_int_equal(result.header->serial, finished);
            assert_int_equal(result.header->row, next_row);
            assert_int_equal(result.detections[0].id, (uint32_t)finished ^ next_row);
            next_row++;
            if (next_row == result.header->rows) {
                next_row = 0;
                finished++;
            }
            lens_ring_client_release(&s.pair.client);
        } else if (sent > finished) {
            client_waits(&s);
        }
    }
    assert_int_equal(pthread_join(daemon, NULL), 0);
    assert_false(s.failed);
    assert_int_equal(s.pair.client.results_owed, 0);
    assert_int_equal(lens_ring_client_dropped(&s.pair.client), 0);
    close(s.doorbell);
    close_pair(&s.pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_between_two_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
