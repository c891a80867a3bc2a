/* Whatever a datagram holds, every message takes at least a byte and no more than are there, a payload lies inside its
   message, an error is from 0 to 4096, and what follows a message changes nothing of it; nothing outside is read.

   An input is a datagram, read as take_datagram() of _worker.pyx reads it. */
#include "harness.h"

enum { IN_PACKET, IN_ERROR, IN_OTHER, IN_BROKEN };

/* As in _nfnetlink.pxd. */
struct message {
    uint32_t id;
    const uint8_t *payload;
    uint32_t payload_length;
    int error;
};

static int (*read_message)(const uint8_t *data, size_t available, struct message *message, size_t *taken);

/* The same message with nothing behind it. */
static void compare_alone(
    const uint8_t *data, size_t size, int incoming, const struct message *message)
{
    uint8_t *alone = copied(data, size);
    struct message again;
    size_t taken = 0;
    REQUIRE(read_message(alone, size, &again, &taken) == incoming && taken == size);
    REQUIRE(again.id == message->id && again.error == message->error);
    REQUIRE(again.payload_length == message->payload_length);
    if (message->payload) {
        REQUIRE(again.payload - alone == message->payload - data);
        REQUIRE(memcmp(again.payload, message->payload, message->payload_length) == 0);
    } else
        REQUIRE(!again.payload);
    free(alone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *datagram = copied(data, size);
    size_t at = 0;
    while (at < size) {
        struct message message;
        size_t taken = 0;
        int incoming = read_message(datagram + at, size - at, &message, &taken);
        REQUIRE(incoming >= IN_PACKET && incoming <= IN_BROKEN);
        REQUIRE(taken > 0 && taken <= size - at);
        if (message.payload)
            REQUIRE(lies_inside(message.payload, message.payload_length, datagram + at, taken));
        else
            REQUIRE(message.payload_length == 0);
        REQUIRE(message.error >= 0 && message.error <= 4096);
        compare_alone(datagram + at, taken, incoming, &message);
        at += taken;
    }
    free(datagram);
    return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    /* NLMSG_ERROR with -ENOENT, in native order. */
    const uint32_t words[5] = { 20, 2, 0, 0, (uint32_t) -2 };
    uint8_t good[20];
    struct message message;
    size_t taken = 0;
    (void) argc;
    (void) argv;
    start_python();
    read_message = (int (*)(const uint8_t *, size_t, struct message *, size_t *)) exported(
        "mxallowd.backends._nfnetlink", "read_message", "enum Incoming (uint8_t const *, size_t, struct Message *, size_t *)");
    memcpy(good, words, sizeof(good));
    memcpy(good + 4, &(const uint16_t) { 2 }, 2);
    memset(good + 6, 0, 2);
    REQUIRE(read_message(good, sizeof(good), &message, &taken) == IN_ERROR);
    REQUIRE(message.error == 2 && taken == sizeof(good));
    return 0;
}
