#!/bin/sh
# Way b), queue plus set, with iptables and ipset: the kernel accepts hosts that have contacted the real server before;
# all other new connections to port 25 go to mxallowd.
#
#     mxallowd --queue-num 23 --ipset ...
#
# Running it again changes nothing.
set -eu
append() {
    program=$1
    shift
    "$program" -w 10 -C INPUT "$@" 2>/dev/null || "$program" -w 10 -A INPUT "$@"
}
for set in mx_white mx_used; do
    ipset create -exist ${set}4 hash:ip family inet timeout 3600 maxelem 2000000
    ipset create -exist ${set}6 hash:ip family inet6 timeout 3600 maxelem 2000000
done
guard() {
    append $1 -p tcp --dport 25 -m state --state NEW -m set --match-set "mx_used$2" src -j ACCEPT
    append $1 -p tcp --dport 25 -m state --state NEW -j NFQUEUE --queue-num 23 --queue-bypass
}
guard iptables 4
guard ip6tables 6
