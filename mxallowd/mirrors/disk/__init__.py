"""The copy of the whitelist on a disk, from which a start gets it back: hosts, notes about them, and refused hosts.

    blocks      how a file is made of blocks, each with a checksum; what is damaged is left out and counted
    directory   the state directory: made, owned by the daemon's user, locked for one daemon
    contents    what is true of some hosts, or of all
    rounds      finds the refused hosts that changed
    reading     from the files to what was true when the last one was written
    files       writing: the journal, and the snapshot that takes its place
    state       follows the whitelist, and has what changed written about twice a second
    trial       the file of what a trial has gathered, once a minute

`snapshot.N` has the whole whitelist, `journal.N` what has changed since that snapshot was begun. Both are made of the
same blocks, and of each host the last record is true. docs/state.md has the layout.
"""
