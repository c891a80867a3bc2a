"""The verdicts of a batch, as messages for the kernel.

Without a mark a packet is accepted (NF_ACCEPT) or dropped. With a mark (`--verdict-mark`) an accepted packet gets the
mark and passes the chain of the rule again (NF_REPEAT): a rule in front knows it by its mark and lets it go on to later
rules. A packet that has the mark when it comes is decided like any other, but if it is accepted, then for good: no such
rule is there, and it would go round for ever.

With `--refuse reset` a refused packet gets another mark and passes the chain again, too: a rule in front rejects what
has that mark with a RST. **It fails safe**: a packet that has the mark when it comes, and is refused, is dropped. So
where the rule is missing, or stands behind the queue's, nobody comes in who is refused. (With NF_ACCEPT he would.) A
packet is dropped as well, and comes again after a second, while its host may be let in until then.

In a dry run (`--dry-run`) what would be dropped is accepted, as what is accepted is.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from mxallowd.backends._nfnetlink cimport MARKED_BYTES
from mxallowd.engine._packet cimport BATCH, Packet

cdef enum:
    VERDICTS_BYTES = BATCH * MARKED_BYTES   # what a batch takes at most

cdef struct Marking:
    uint32_t value
    uint32_t mask       # bits of a packet's mark that `value` replaces; 0: accepted packets get no mark
    uint32_t refused_value
    uint32_t refused_mask   # the same for refused packets, none of the bits of `mask`; 0: they are dropped
    bint dry_run        # nothing is dropped

cdef struct Written:
    size_t length       # bytes
    int dropped         # packets
    int rejected        # packets that the rule is to reject
    int again           # packets that were accepted and had the mark when they came
    int unrejected      # packets that were dropped, since they had the mark of refused ones when they came

# Write the verdicts of `count` decided packets, at most VERDICTS_BYTES bytes. `marks` are those that they came with;
# `pending` has a bit for each refused packet whose host may come in by its next SYN.
cdef Written write_verdicts(
    uint8_t *target, uint16_t queue, const uint32_t *ids, const uint32_t *marks, const Packet *packets, int count,
    const Marking *marking, uint64_t pending) noexcept nogil
