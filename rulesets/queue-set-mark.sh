#!/bin/sh
# Way b), queue plus set: the rules of iptables for queue-set-mark.nft. Load that file first.
#
# Running it again changes nothing.
set -eu
append() {
    program=$1
    shift
    "$program" -w 10 -C INPUT "$@" 2>/dev/null || "$program" -w 10 -A INPUT "$@"
}
for program in iptables ip6tables; do
    append $program -p tcp --dport 25 -m state --state NEW -m mark --mark 0x10000000/0x10000000 -j ACCEPT
    append $program -p tcp --dport 25 -m state --state NEW -j NFQUEUE --queue-num 23 --queue-bypass
done
