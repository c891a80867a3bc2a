/* A crowd of gateways of a fleet, as its engine sees them: many readers of one stream, and writers of batches that were
 * made before. What a gateway does with a batch is left out; what the engine does for it is not.
 *
 *     fleet_crowd ADDRESS PORT KEY READERS WRITERS PACE_MS SECONDS [CA] <SCHEDULE
 *
 * SCHEDULE is frames in order of time, each a header (struct frame_header, of this machine's byte order) and the command
 * to send. A reader asks again PACE_MS after it asked, as the gateways do. With CA, and compiled with -DTLS, all of them
 * speak TLS 1.3, and trust what this file has.
 *
 * It prints `ready` and its start on the monotonic clock, and at its end one line: batches and bytes that all readers
 * got, errors, the quantiles of the time from the oldest record of a batch to a reader in microseconds (p50 p99 max), and
 * the processor time of this program in milliseconds. A batch tells its frame by its sequence, and that it is one of
 * these by its epoch.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#ifdef TLS
#include <openssl/ssl.h>
#endif

struct frame_header {
    uint64_t due_us, oldest_us; /* from the start: when it is sent, and when its oldest record was made */
    uint32_t writer, length;
};
struct frame {
    struct frame_header head;
    const char *command;
    uint32_t next; /* of those that its writer has not sent */
};
enum { NONE = UINT32_MAX, HEAD = 64, EPOCH_AT = 10, SEQUENCE_AT = 18, EPOCH = 1 };

struct connection {
    int fd;
    int is_writer;
    /* A reader: where it is in an answer, token by token. */
    int waits; /* for an answer */
    uint64_t asked_us;
    char last_id[48];
    int token, of_entry;
    long bulk; /* bytes of a string that are missing, with its end; -1: a line is read */
    long entries;
    char line[HEAD];
    size_t filled; /* of line */
    /* A writer: what waits to be sent. */
    uint32_t first, last;
    size_t sent;
#ifdef TLS
    SSL *ssl;
#endif
};

static const char *key;
static struct frame *frames;
static uint32_t frame_count;
static uint64_t begun_us, batches, bytes, errors;
static uint32_t *latencies;
static size_t latency_count, latency_room;
static char buffer[1 << 18];

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void fail(const char *what)
{
    fprintf(stderr, "fleet_crowd: %s: %s\n", what, strerror(errno));
    exit(1);
}

static ssize_t put(struct connection *one, const char *data, size_t length)
{
#ifdef TLS
    if (one->ssl) {
        int done = SSL_write(one->ssl, data, (int)length);
        if (done > 0)
            return done;
        errno = SSL_get_error(one->ssl, done) == SSL_ERROR_SYSCALL ? EPIPE : EAGAIN;
        return -1;
    }
#endif
    return send(one->fd, data, length, MSG_NOSIGNAL);
}

static ssize_t get(struct connection *one)
{
#ifdef TLS
    if (one->ssl) {
        int done = SSL_read(one->ssl, buffer, sizeof buffer);
        if (done > 0)
            return done;
        int error = SSL_get_error(one->ssl, done);
        if (error == SSL_ERROR_ZERO_RETURN)
            return 0;
        errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
        return -1;
    }
#endif
    return recv(one->fd, buffer, sizeof buffer, 0);
}

static void note_latency(const char *head, size_t filled)
{
    uint64_t sequence, epoch;
    if (filled < SEQUENCE_AT + sizeof sequence)
        return;
    memcpy(&epoch, head + EPOCH_AT, sizeof epoch);
    memcpy(&sequence, head + SEQUENCE_AT, sizeof sequence);
    sequence = be64toh(sequence);
    if (be64toh(epoch) != EPOCH || sequence >= frame_count || latency_count == latency_room)
        return; /* of a gateway that is none of the crowd */
    latencies[latency_count++] = (uint32_t)(now_us() - begun_us - frames[sequence].head.oldest_us);
}

/* Ask for what came after the last one. */
static void ask(struct connection *one, uint64_t now)
{
    char command[256];
    int length = snprintf(command, sizeof command,
        "*8\r\n$5\r\nXREAD\r\n$5\r\nCOUNT\r\n$4\r\n2000\r\n$5\r\nBLOCK\r\n$4\r\n1000\r\n$7\r\nSTREAMS\r\n"
        "$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(key), key, strlen(one->last_id), one->last_id);
    if (put(one, command, length) != length)
        fail("asking");
    one->asked_us = now;
    one->waits = 1;
    one->token = 0;
    one->bulk = -1;
    one->filled = 0;
}

/* A line of an answer. Tokens: *1, *2, the key, *N, and for each entry *2, the ID, *2, d, the batch. */
static void take_line(struct connection *one)
{
    one->line[one->filled] = 0;
    long value = strtol(one->line + 1, NULL, 10);
    one->filled = 0;
    if (one->line[0] == '-' || (one->token == 0 && value < 0)) {
        errors += one->line[0] == '-';
        one->waits = 0;
    } else if (one->line[0] == '$') {
        one->bulk = value + 2;
        if (one->token >= 4 && one->of_entry == 4) {
            batches++;
            bytes += value;
        }
    } else {
        if (one->token == 3) {
            one->entries = value;
            one->of_entry = -1;
        }
        one->token++;
        one->of_entry++;
    }
}

static void end_string(struct connection *one)
{
    if (one->token >= 4 && one->of_entry == 1) {
        size_t length = one->filled < sizeof one->last_id - 1 ? one->filled : sizeof one->last_id - 1;
        memcpy(one->last_id, one->line, length);
        one->last_id[length] = 0;
        char *end = strchr(one->last_id, '\r');
        if (end)
            *end = 0;
    } else if (one->token >= 4 && one->of_entry == 4) {
        note_latency(one->line, one->filled);
    }
    one->bulk = -1;
    one->filled = 0;
    one->token++;
    if (one->token > 4 && ++one->of_entry == 5) {
        one->of_entry = 0;
        if (--one->entries == 0)
            one->waits = 0;
    }
}

static void take(struct connection *one, const char *data, size_t length)
{
    while (length) {
        if (one->bulk >= 0) {
            size_t part = (size_t)one->bulk < length ? (size_t)one->bulk : length;
            size_t kept = HEAD - one->filled < part ? HEAD - one->filled : part;
            memcpy(one->line + one->filled, data, kept);
            one->filled += kept;
            one->bulk -= part;
            data += part;
            length -= part;
            if (one->bulk == 0)
                end_string(one);
        } else {
            char byte = *data++;
            length--;
            if (byte == '\n')
                take_line(one);
            else if (byte != '\r' && one->filled < HEAD - 1)
                one->line[one->filled++] = byte;
        }
    }
}

static void drain(struct connection *one)
{
    for (;;) {
        ssize_t got = get(one);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0)
            fail("the engine has closed a connection");
        if (one->is_writer) {
            for (ssize_t at = 0; at < got; at++)
                errors += buffer[at] == '-' && (at == 0 || buffer[at - 1] == '\n');
        } else {
            take(one, buffer, got);
        }
        if (got < (ssize_t)sizeof buffer)
#ifdef TLS
            if (!one->ssl || !SSL_pending(one->ssl))
#endif
                return;
    }
}

static void flush_writer(struct connection *one)
{
    while (one->first != NONE) {
        struct frame *frame = &frames[one->first];
        ssize_t done = put(one, frame->command + one->sent, frame->head.length - one->sent);
        if (done < 0 && errno == EAGAIN)
            return;
        if (done < 0)
            fail("writing");
        one->sent += done;
        if (one->sent < frame->head.length)
            continue;
        one->sent = 0;
        one->first = frame->next;
    }
}

static void open_connection(struct connection *one, const char *address, int port, const char *authority)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int yes = 1;
    inet_pton(AF_INET, address, &to.sin_addr);
    one->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (one->fd < 0 || connect(one->fd, (struct sockaddr *)&to, sizeof to) < 0)
        fail("connecting");
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
#ifdef TLS
    static SSL_CTX *context;
    if (authority && !context) {
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        if (SSL_CTX_load_verify_locations(context, authority, NULL) != 1)
            fail("reading the authority");
    }
    if (authority) {
        one->ssl = SSL_new(context);
        SSL_set_fd(one->ssl, one->fd);
        if (SSL_connect(one->ssl) != 1)
            fail("TLS");
    }
#else
    if (authority)
        fail("compiled without TLS");
#endif
    fcntl(one->fd, F_SETFL, O_NONBLOCK);
}

static void read_schedule(void)
{
    size_t room = 1 << 20, length = 0;
    char *all = malloc(room);
    for (ssize_t got; (got = read(0, all + length, room - length)) > 0; length += got)
        if (length + got == room)
            all = realloc(all, room *= 2);
    for (size_t at = 0; at + sizeof(struct frame_header) <= length; frame_count++) {
        struct frame_header head;
        memcpy(&head, all + at, sizeof head);
        if ((frame_count & (frame_count - 1)) == 0)
            frames = realloc(frames, (frame_count ? 2 * (size_t)frame_count : 1) * sizeof *frames);
        frames[frame_count] = (struct frame){head, all + at + sizeof head, NONE};
        at += sizeof head + head.length;
    }
}

static int by_size(const void *one, const void *other)
{
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    if (argc < 8) {
        fprintf(stderr, "usage: fleet_crowd ADDRESS PORT KEY READERS WRITERS PACE_MS SECONDS [CA]\n");
        return 2;
    }
    key = argv[3];
    int readers = atoi(argv[4]), writers = atoi(argv[5]), count = readers + writers;
    uint64_t pace_us = (uint64_t)atoi(argv[6]) * 1000, length_us = (uint64_t)(atof(argv[7]) * 1e6);
    struct connection *all = calloc(count ? count : 1, sizeof *all);
    read_schedule();
    latency_room = (size_t)frame_count * (readers ? readers : 1);
    latencies = malloc((latency_room + 1) * sizeof *latencies);
    int poll = epoll_create1(EPOLL_CLOEXEC);
    for (int at = 0; at < count; at++) {
        all[at].is_writer = at >= readers;
        all[at].first = NONE;
        open_connection(&all[at], argv[1], atoi(argv[2]), argc > 8 ? argv[8] : NULL);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = at};
        epoll_ctl(poll, EPOLL_CTL_ADD, all[at].fd, &event);
        strcpy(all[at].last_id, "$");
    }
    /* It stands for other machines: whatever the gateway under test does, they go on. */
    sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
    begun_us = now_us();
    printf("ready %llu\n", (unsigned long long)begun_us);
    fflush(stdout);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    uint32_t due = 0;
    int spread = readers ? readers : 1;
    for (uint64_t now; (now = now_us()) < begun_us + length_us;) {
        uint64_t next = begun_us + length_us;
        for (; due < frame_count && begun_us + frames[due].head.due_us <= now; due++) {
            struct connection *one = &all[readers + frames[due].head.writer];
            if (one->first == NONE)
                one->first = due;
            else
                frames[one->last].next = due;
            one->last = due;
            flush_writer(one);
        }
        if (due < frame_count && begun_us + frames[due].head.due_us < next)
            next = begun_us + frames[due].head.due_us;
        for (int at = 0; at < readers; at++) {
            /* They did not start at the same time. */
            uint64_t again = all[at].asked_us ? all[at].asked_us + pace_us : begun_us + pace_us * at / spread;
            if (all[at].waits)
                continue;
            if (again <= now)
                ask(&all[at], now);
            else if (again < next)
                next = again;
        }
        now = now_us();
        struct epoll_event ready[256];
        struct timespec wait = {0, next > now ? (long)(next - now) * 1000 % 1000000000 : 0};
        if (next > now)
            wait.tv_sec = (next - now) / 1000000;
        int found = epoll_pwait2(poll, ready, 256, &wait, NULL);
        for (int at = 0; at < found; at++)
            drain(&all[ready[at].data.u32]);
        for (int at = readers; at < count; at++)
            if (all[at].first != NONE)
                flush_writer(&all[at]);
    }
    getrusage(RUSAGE_SELF, &after);
    double spent = (after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1e3
        + (after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1e3;
    qsort(latencies, latency_count, sizeof *latencies, by_size);
    latencies[latency_count] = 0;
    printf("%llu %llu %llu %u %u %u %.0f\n", (unsigned long long)batches, (unsigned long long)bytes,
        (unsigned long long)errors, latencies[latency_count / 2], latencies[latency_count * 99 / 100],
        latencies[latency_count ? latency_count - 1 : 0], spent);
    return 0;
}
