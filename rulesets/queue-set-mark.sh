#!/bin/sh
# Way b), queue plus set: the rules of iptables that go with queue-set-mark.nft. Load that first.
set -eu
for program in iptables ip6tables; do
    $program -w 10 -A INPUT -p tcp --dport 25 -m state --state NEW -m mark --mark 0x10000000/0x10000000 -j ACCEPT
    $program -w 10 -A INPUT -p tcp --dport 25 -m state --state NEW -j NFQUEUE --queue-num 23 --queue-bypass
done
