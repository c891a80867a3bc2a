#!/bin/sh
# Way c), set plus NFLOG, with iptables and ipset: the kernel decides, and no packet ever waits for a program. Put your
# addresses in.
#
#     mxallowd --pflog-interface nflog:5 --ipset ...
#
# Running it again changes nothing.
set -eu
fake4=192.0.2.10 fake6=2001:db8::10
real4=192.0.2.20 real6=2001:db8::20

for set in mx_white mx_used; do
    ipset create -exist ${set}4 hash:ip family inet timeout 3600 maxelem 2000000
    ipset create -exist ${set}6 hash:ip family inet6 timeout 3600 maxelem 2000000
done
append() {
    $program -C INPUT "$@" 2>/dev/null || $program -A INPUT "$@"
}
guard() {
    program="$1 -w 10" family=$2 fake=$3 real=$4
    log="-j NFLOG --nflog-group 5 --nflog-threshold 1"
    $program -N MX_FAKE 2>/dev/null || $program -F MX_FAKE
    # Contacts of known hosts are not logged. The RST makes the sender go on to the real server at once.
    $program -A MX_FAKE -m set ! --match-set "mx_white$family" src $log
    $program -A MX_FAKE -p tcp -j REJECT --reject-with tcp-reset
    $program -N MX_REAL 2>/dev/null || $program -F MX_REAL
    $program -A MX_REAL -m set --match-set "mx_used$family" src -j ACCEPT
    # The first connection of a known host: mxallowd learns that the host contacted the real server.
    $program -A MX_REAL -m set --match-set "mx_white$family" src $log
    $program -A MX_REAL -m set --match-set "mx_white$family" src -j ACCEPT
    # Unknown hosts: mxallowd sees a part of them, for its log and for reverse DNS.
    $program -A MX_REAL -m limit --limit 100/second --limit-burst 200 $log
    $program -A MX_REAL -j DROP
    append -p tcp --dport 25 -m state --state NEW -d "$real" -j MX_REAL
    append -p tcp --dport 25 -m state --state NEW -d "$fake" -j MX_FAKE
}
guard iptables 4 $fake4 $real4
guard ip6tables 6 $fake6 $real6
