#!/bin/sh
# Way a), queue only, with iptables: every new connection to port 25 goes to mxallowd.
#
#     mxallowd --queue-num 23 ...
#
# Running it again changes nothing.
set -eu
append() {
    program=$1
    shift
    "$program" -w 10 -C INPUT "$@" 2>/dev/null || "$program" -w 10 -A INPUT "$@"
}
for program in iptables ip6tables; do
    append $program -p tcp --dport 25 -m state --state NEW -j NFQUEUE --queue-num 23 --queue-bypass
done
