/* Whatever a record and a program hold, only a sound program runs, the IP packet lies inside the record, a connection
   attempt has addresses that can be parsed, and nothing outside of either is read.

   An input is a byte for the link type, a byte for the instructions of a filter program (0: a fixed one), the program
   and the record. */
#include "harness.h"

enum { CANDIDATE, NO_CANDIDATE, BROKEN_RECORD };
enum { PARSE_OK = 0, INSTRUCTION = 4, FILTER_BYTES = 256, HEAD_BYTES = 60, SHORTEST_ATTEMPT = 34 };

/* As in _capture.pxd. */
struct filter {
    int count;
    uint8_t instructions[FILTER_BYTES];
};

static const int LINK_TYPES[] = { 0, 1, 9, 12, 14, 50, 51, 101, 108, 113, 117, 219, 228, 229, 239, 276 };
static const struct filter DESTINATION_PORT_25 = { 1, { 1, 2, 0, 25 } };

static int (*skip_link)(
    int link_type, const uint8_t *data, size_t length, const uint8_t **ip, size_t *ip_length);
static int (*match_attempt)(const uint8_t *ip, size_t length, const struct filter *filter);
static int (*load_filter)(struct filter *filter, PyObject *program);
static int (*parse_addresses)(const uint8_t *packet, size_t length, struct address *source, struct address *destination);

/* Whether the program is sound. */
static int load(struct filter *filter, const uint8_t *program, size_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *) program, (Py_ssize_t) size);
    int status;
    REQUIRE(bytes);
    status = load_filter(filter, bytes);
    Py_DECREF(bytes);
    if (status == 0) {
        REQUIRE(filter->count > 0 && (size_t) filter->count * INSTRUCTION == size && size <= FILTER_BYTES);
        return 1;
    }
    REQUIRE(PyErr_ExceptionMatches(PyExc_ValueError));
    PyErr_Clear();
    return 0;
}

static void match(const uint8_t *data, size_t size, const struct filter *filter)
{
    uint8_t *packet = copied(data, size);
    int found = match_attempt(packet, size, filter);
    REQUIRE(found >= CANDIDATE && found <= BROKEN_RECORD);
    if (found == CANDIDATE) {
        struct address source, destination;
        REQUIRE(size >= SHORTEST_ATTEMPT);
        REQUIRE(parse_addresses(packet, size < HEAD_BYTES ? size : HEAD_BYTES, &source, &destination) == PARSE_OK);
    }
    free(packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct filter *filter = &DESTINATION_PORT_25;
    struct filter own;
    const uint8_t *ip = NULL;
    size_t program, ip_length = 0;
    uint8_t *record;
    int link_type, found;
    if (size < 2)
        return 0;
    link_type = LINK_TYPES[data[0] % (sizeof(LINK_TYPES) / sizeof(LINK_TYPES[0]))];
    program = (size_t) data[1] * INSTRUCTION;
    data += 2;
    size -= 2;
    if (program) {
        /* One that is cut is none either. */
        program = program < size ? program : size;
        if (!load(&own, data, program))
            return 0;
        filter = &own;
        data += program;
        size -= program;
    }
    record = copied(data, size);
    found = skip_link(link_type, record, size, &ip, &ip_length);
    REQUIRE(found >= CANDIDATE && found <= BROKEN_RECORD);
    if (found == CANDIDATE) {
        REQUIRE(lies_inside(ip, ip_length, record, size));
        match(ip, ip_length, filter);
    } else
        REQUIRE(!ip && ip_length == 0);
    free(record);
    return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    /* A SYN to port 25, and to another one. */
    uint8_t good[34] = { 0x45, [9] = 6, [20 + 3] = 25, [20 + 13] = 2 };
    (void) argc;
    (void) argv;
    start_python();
    skip_link = (int (*)(int, const uint8_t *, size_t, const uint8_t **, size_t *)) exported(
        "mxallowd.captures._capture", "skip_link", "enum Found (int, uint8_t const *, size_t, uint8_t const **, size_t *)");
    match_attempt = (int (*)(const uint8_t *, size_t, const struct filter *)) exported(
        "mxallowd.captures._capture", "match_attempt", "enum Found (uint8_t const *, size_t, struct Filter const *)");
    load_filter = (int (*)(struct filter *, PyObject *)) exported(
        "mxallowd.captures._capture", "load_filter", "int (struct Filter *, PyObject *)");
    parse_addresses = (int (*)(const uint8_t *, size_t, struct address *, struct address *)) exported(
        "mxallowd.engine._headers", "parse_addresses",
        "enum Parse (uint8_t const *, size_t, struct mxallowd_address *, struct mxallowd_address *)");
    REQUIRE(match_attempt(good, sizeof(good), &DESTINATION_PORT_25) == CANDIDATE);
    good[23] = 26;
    REQUIRE(match_attempt(good, sizeof(good), &DESTINATION_PORT_25) == NO_CANDIDATE);
    return 0;
}
