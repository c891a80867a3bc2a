#!/bin/sh
# Way a), queue only, with iptables: every new connection to port 25 is put before mxallowd.
#
#     mxallowd --queue-num 23 ...
set -eu
for program in iptables ip6tables; do
    $program -w 10 -A INPUT -p tcp --dport 25 -m state --state NEW -j NFQUEUE --queue-num 23 --queue-bypass
done
