#!/bin/sh
# Beside any of the ways, with iptables: hosts that our own mail server has a connection to are let in.
#
#     mxallowd --learn-outbound nflog:6 ...
#
# Run it again after each change: it replaces its rules. docs/firewall.md says more.
set -eu
log="-j NFLOG --nflog-group 6 --nflog-size 128 --nflog-threshold 1"
limit="-m limit --limit 100/second --limit-burst 200"
chain=INPUT                 # FORWARD: where the mail server is another host behind this one
track=yes                   # no: where the kernel tracks no connections (NOTRACK); then SYNs count, answered or not

# The input of iptables-restore. A jump that is there stays in its place.
rules() {
    echo "*filter"
    echo ":MXALLOWD_OUT - [0:0]"
    if [ "$track" = no ]; then
        [ "$chain" = FORWARD ] || chain=OUTPUT
        match="-p tcp --dport 25 --syn"
        echo "-A MXALLOWD_OUT -o lo -j RETURN"
    else
        match="-p tcp --sport 25 --tcp-flags FIN,SYN,RST,ACK SYN,ACK"
        echo "-A MXALLOWD_OUT -i lo -j RETURN"
        # Never without this match: anybody could send such a packet.
        limit="-m conntrack --ctstate ESTABLISHED --ctdir REPLY $limit"
    fi
    echo "-A MXALLOWD_OUT $limit $log"
    "$1-save" -t filter | sed -n '/ -j MXALLOWD_OUT$/s/^-A/-D/p'
    echo "-A $chain $match -j MXALLOWD_OUT"
    echo COMMIT
}

for program in iptables ip6tables; do
    if ! command -v "$program-restore" >/dev/null || ! "$program" -w 10 -S >/dev/null 2>&1; then
        [ "$program" = ip6tables ] || { echo "mxallowd: nothing was changed: $program cannot be used" >&2; exit 1; }
        echo "mxallowd: no rules for IPv6: ip6tables cannot be used" >&2
        continue
    fi
    (rules "$program") | "$program-restore" --noflush -w 10
done
