/* Whatever the bytes are, addresses are those of the header and written only on PARSE_OK, alone as in a batch, a port is
   found in TCP alone, and nothing outside [packet, packet + length) is read.

   An input is a batch of packets, a byte with its length before each. */
#include "harness.h"

enum { PARSE_OK = 0, PARSE_BAD_HEADER_LENGTH = 4, PARSE_NO_SYN = 5, MOST = 8 };

/* As in _packet.pxd. */
struct packet {
    const uint8_t *data;
    uint32_t length;
    uint8_t outcome;
    uint64_t now_us;
};

static int (*parse_addresses)(const uint8_t *packet, size_t length, struct address *source, struct address *destination);
static void (*parse_packets)(
    const struct packet *packets, int count, uint8_t *parses, struct address *sources, struct address *destinations);

static uint16_t (*source_port)(const uint8_t *packet, size_t length);

#ifdef BROKEN
/* A parser with the mistake that this target is for: it shows that the target sees one. */
static int read_too_far(const uint8_t *packet, size_t length, struct address *source, struct address *destination)
{
    int parse = parse_addresses(packet, length, source, destination);
    if (parse == PARSE_OK && packet[0] >> 4 == 6 && packet[6] == 44)
        (void) *(const volatile uint8_t *) (packet + length);
    return parse;
}
#define PARSE_ADDRESSES read_too_far
#else
#define PARSE_ADDRESSES parse_addresses
#endif

/* The 16 bytes of an address where the header has them; `packet` is a whole header. */
static void expect(const uint8_t *packet, int is_destination, const struct address *found)
{
    uint8_t wanted[16] = { [10] = 0xff, [11] = 0xff };
    if (packet[0] >> 4 == 4)
        memcpy(wanted + 12, packet + 12 + 4 * is_destination, 4);
    else
        memcpy(wanted, packet + 8 + 16 * is_destination, 16);
    REQUIRE(memcmp(wanted, found, 16) == 0);
}

static int is_mapped(const struct address *address)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    return memcmp(address, mapped, 12) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct address untouched = { 0x5555555555555555, 0xaaaaaaaaaaaaaaaa }, zero = { 0, 0 };
    struct packet packets[MOST];
    struct address sources[MOST], destinations[MOST], source, destination;
    uint8_t parses[MOST], *blocks[MOST];
    int count = 0, i, parse;
    while (size && count < MOST) {
        size_t length = data[0] < size - 1 ? data[0] : size - 1;
        blocks[count] = copied(data + 1, length);
        packets[count].data = blocks[count];
        packets[count].length = (uint32_t) length;
        count++;
        data += 1 + length;
        size -= 1 + length;
    }
    parse_packets(packets, count, parses, sources, destinations);
    for (i = 0; i < count; i++) {
        source = destination = untouched;
        parse = PARSE_ADDRESSES(packets[i].data, packets[i].length, &source, &destination);
        REQUIRE(parse >= PARSE_OK && parse <= PARSE_BAD_HEADER_LENGTH);
        REQUIRE(parse == parses[i] || (parse == PARSE_OK && parses[i] == PARSE_NO_SYN));
        if (parse == PARSE_OK) {
            expect(packets[i].data, 0, &source);
            expect(packets[i].data, 1, &destination);
            REQUIRE(memcmp(&source, &sources[i], 16) == 0
                    || (packets[i].data[0] >> 4 == 6 && is_mapped(&source) && memcmp(&zero, &sources[i], 16) == 0));
            REQUIRE(memcmp(parses[i] == PARSE_OK ? &destination : &zero, &destinations[i], 16) == 0);
        } else {
            REQUIRE(memcmp(&source, &untouched, 16) == 0 && memcmp(&destination, &untouched, 16) == 0);
            REQUIRE(memcmp(&sources[i], &zero, 16) == 0 && memcmp(&destinations[i], &zero, 16) == 0);
        }
        /* It reads nothing outside, whatever the addresses are, and finds a port in TCP alone. */
        if (source_port(packets[i].data, packets[i].length))
            REQUIRE(packets[i].length >= 22 && packets[i].data[packets[i].data[0] >> 4 == 4 ? 9 : 6] == 6);
        free(blocks[i]);
    }
    return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const uint8_t good[40] = { 0x60 };
    struct address source, destination;
    (void) argc;
    (void) argv;
    start_python();
    parse_addresses = (int (*)(const uint8_t *, size_t, struct address *, struct address *)) exported(
        "mxallowd.engine._headers", "parse_addresses",
        "enum Parse (uint8_t const *, size_t, struct mxallowd_address *, struct mxallowd_address *)");
    parse_packets = (void (*)(const struct packet *, int, uint8_t *, struct address *, struct address *)) exported(
        "mxallowd.engine._headers", "parse_packets",
        "void (struct Packet const *, int, uint8_t *, struct mxallowd_address *, struct mxallowd_address *)");
    source_port = (uint16_t (*)(const uint8_t *, size_t)) exported(
        "mxallowd.engine._headers", "source_port", "uint16_t (uint8_t const *, size_t)");
    REQUIRE(parse_addresses(good, sizeof(good), &source, &destination) == PARSE_OK);
    return 0;
}
