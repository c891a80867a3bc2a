"""`mxallowctl doctor`: what keeps nolisting from working here, why it matters, and the command that mends it.

    findings    what a finding is
    facts       what the daemon says of itself; where it does not run, what its configuration says
    fleet       the engine of --fleet, and the other gateways
    outbound    whether a rule tells of outgoing connections
    networkkey  whether rules have the masks of --network-key
    rules       the firewall: what becomes of a SYN to each server (walk), as iptables and nftables read it; mending,
                wrongs (its words), shipped (rulesets of the project, which are loaded again as a whole)
    queues      the kernel's queues: bound, their fill, what was lost
    servers     addresses and listeners of both servers, and connections to those elsewhere
    records     MX records of a domain against the configured servers
    process     user, sandbox, state directory, control socket
    told        what follows from the daemon's word alone (sets in step, doors, lists …), and fleettold, the same of its
                fleet: the console has these, too
    system      clock, name servers, versions

Each module has `check(...)`, which gives findings and changes nothing. What cannot be found out (no privilege, no
program) is a finding of its own, a warning: silence would look like health.
"""
