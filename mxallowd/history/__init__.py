"""History: bounded memories of what hosts did, for the operator's questions. Nothing here decides about a packet.

    hosts       what the last connections of a host met
    followed    hosts that are followed for a day, a sample where they are too many
    forecast    what became of hosts that were refused
    unled       direct hosts that meet the fake server all the same: no rule leads them
    firstmx     hosts that keep meeting the fake server and never the real one
    traffic     connections that were refused and accepted, and how many of the refused ones were seen
    toreal      how long hosts take from the fake server to the real one
    names       names of hosts, as lookups have given them
    timeline    seconds that go on over restarts
    hourly      numbers that are forgotten after eight days
    kept        what of this is kept on a disk
"""
