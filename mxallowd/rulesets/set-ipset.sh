#!/bin/sh
# Way c), set plus NFLOG, with iptables and ipset: the kernel decides, and no packet ever waits for a program.
#
#     mxallowd --pflog-interface nflog:5 --ipset ...
#
# `mxallowd --print-ruleset c --iptables` prints it with what is configured. By hand, several addresses of a kind
# have blanks between. Run it again after each change: it replaces its rules. docs/firewall.md says what each setting
# is for.
set -eu
fake4="192.0.2.10" fake6="2001:db8::10"
real4="192.0.2.20" real6="2001:db8::20"
direct4="" direct6=""       # the address of the real server to which hosts of mx_direct are led from the fake one
exempt4="" exempt6=""       # monitors and others that are not filtered: addresses, networks
log="-j NFLOG --nflog-group 5 --nflog-threshold 1"
renew=contact               # as mxallowd's --renew
key=""                      # as mxallowd's --network-key, such as 24/64
refuse=DROP                 # RETURN: for --dry-run: hosts that would be refused are counted and let through
                            # REJECT: refused hosts get a RST; in the table filter alone
pass=ACCEPT                 # RETURN: later rules decide on what this file lets in
table=filter chains=INPUT   # table=security: behind all rules of the table filter
mark=""                     # nothing here sets a mark
track=yes                   # no: where the kernel tracks no connections; notrack: not those to port 25 of these servers
sets="mx_white mx_used mx_fresh mx_allow mx_deny mx_met" set_options="timeout 28800 maxelem 2000000"
options_mx_met="timeout 5 maxelem 1250000"
options_mx_allow="maxelem 1000000" type_mx_allow=hash:net
options_mx_deny="maxelem 1000000" type_mx_deny=hash:net
subchains="MXALLOWD_FAKE MXALLOWD_REAL"
if [ -n "$key" ]; then
    sets="$sets mx_net mx_metnet"
    mask4="netmask ${key%/*}" mask6="netmask ${key#*/}"
    # An address is no network.
    [ "$mask4" != "netmask 32" ] || mask4=""
    [ "$mask6" != "netmask 128" ] || mask6=""
    options_mx_net4="$mask4 $set_options" options_mx_net6="$mask6 $set_options"
    options_mx_metnet4="$mask4 $options_mx_met" options_mx_metnet6="$mask6 $options_mx_met"
fi

if [ "$refuse" = REJECT ] && [ "$table" != filter ]; then
    echo "mxallowd: nothing was changed: refuse=REJECT needs the table filter: no other one can reject" >&2
    exit 1
fi

# The rules for IPv$1.
rules() {
    refuse="-j $refuse"
    [ "$refuse" != "-j REJECT" ] || refuse="-p tcp -j REJECT --reject-with tcp-reset"
    fresh="-m set --match-set mx_fresh$1 src"
    used="-m set --match-set mx_used$1 src"
    white="-m set --match-set mx_white$1 src"
    met="-m set --match-set mx_met$1 src"
    # A use that may renew an entry is shown to mxallowd.
    case $renew in use|both) used="$used $fresh" ;; esac
    for host in $real; do
        echo "-A MXALLOWD -d $host -j MXALLOWD_REAL"
    done
    for host in $fake; do
        echo "-A MXALLOWD -d $host -j MXALLOWD_FAKE"
    done
    allow="-m set --match-set mx_allow$1 src" deny="-m set --match-set mx_deny$1 src"
    # The lists come before the whitelist.
    echo "-A MXALLOWD_REAL $deny -m limit --limit 100/second --limit-burst 200 $log"
    echo "-A MXALLOWD_REAL $deny $refuse"
    echo "-A MXALLOWD_REAL $allow -j $pass"
    echo "-A MXALLOWD_REAL $used -j $pass"
    # The first connection of a known host: mxallowd learns that the host contacted the real server.
    echo "-A MXALLOWD_REAL $white $log"
    echo "-A MXALLOWD_REAL $white -j $pass"
    echo "-A MXALLOWD_REAL $met $log"
    echo "-A MXALLOWD_REAL $met -j $pass"
    # Whose network a contact let in; mxallowd gives an entry of its own to a host that it sees here.
    for set in ${key:+mx_net mx_metnet}; do
        echo "-A MXALLOWD_REAL -m set --match-set $set$1 src -m limit --limit 100/second --limit-burst 200 $log"
        echo "-A MXALLOWD_REAL -m set --match-set $set$1 src -j $pass"
    done
    # Unknown hosts: mxallowd sees a part of them, for its log and for reverse DNS.
    echo "-A MXALLOWD_REAL -m limit --limit 100/second --limit-burst 200 $log"
    echo "-A MXALLOWD_REAL $refuse"
    # A contact that cannot renew the entry of a known host is not logged.
    reject="-j REJECT --reject-with tcp-reset"
    # Only the table filter has REJECT; elsewhere the host itself answers with RST, as nothing listens there.
    [ "$table" = filter ] || reject="-j $pass"
    # Who is denied learns nothing there, and is not entered.
    echo "-A MXALLOWD_FAKE $deny -p tcp $reject"
    echo "-A MXALLOWD_FAKE $white $fresh -p tcp $reject"
    # Until mxallowd has entered a newcomer, the kernel alone lets it in.
    echo "-A MXALLOWD_FAKE -m set ! --match-set mx_white$1 src -j SET --add-set mx_met$1 src --exist --timeout 5"
    [ -z "$key" ] || echo "-A MXALLOWD_FAKE -j SET --add-set mx_metnet$1 src --exist --timeout 5"
    echo "-A MXALLOWD_FAKE $log"
    echo "-A MXALLOWD_FAKE -p tcp $reject"
}

# ---- What follows is the same in all rulesets for iptables: it loads these rules into a chain of their own, MXALLOWD.

say() {
    echo "mxallowd: $1" >&2
}

fail() {
    say "nothing was changed: $(echo "$1" | tr '\n' ' ' | sed 's/ *$//')"
    exit 1
}

program() {
    if [ "$1" = 4 ]; then echo iptables; else echo ip6tables; fi
}

# The chains and rules for IPv$1 of all tables that are in use, each behind the name of its table.
saved() {
    "$(program "$1")-save" 2>/dev/null | awk '/^\*/ { table = substr($0, 2) } /^(-A|:)/ { print table, $0 }'
}

# The input of iptables-restore for IPv$1. It replaces the chain in one step. A jump that is there stays in its place.
replacement() {
    there=$(saved "$1" | awk '/ --dport 25 .*-j MXALLOWD$/ { print $1, $3 }')
    echo "*$table"
    for own in MXALLOWD $subchains; do
        echo ":$own - [0:0]"
    done
    eval "fake=\$fake$1 real=\$real$1 exempt=\$exempt$1"
    # Programs of this host, and who else is exempt.
    echo "-A MXALLOWD -i lo -j RETURN"
    echo "-A MXALLOWD -m addrtype --src-type LOCAL -j RETURN"
    for host in $exempt; do
        echo "-A MXALLOWD -s $host -j RETURN"
    done
    [ -z "$mark" ] || echo "-A MXALLOWD -m mark --mark $mark -j RETURN"
    eval "direct=\$direct$1"
    # Where these rules stand in front of NAT: who is about to be led to the real server makes no contact.
    for host in ${direct:+$fake}; do
        echo "-A MXALLOWD -d $host -m set --match-set mx_direct$1 src -j RETURN"
    done
    rules "$1"
    unordered "$1"
    # It matches no SYN. But a rule with this match lets the kernel track connections, and mxallowd learns from that who
    # completed one. Without it age alone decides who has to make room in a full whitelist.
    [ "$track" != yes ] || echo "-A MXALLOWD -m conntrack --ctstate ESTABLISHED"
    for chain in $chains; do
        echo "$there" | grep -qx "$table $chain" || echo "-A $chain -p tcp --dport 25 --syn -j MXALLOWD"
    done
    echo COMMIT
    leading "$1"
    untracking "$1"
}

# IPv6 to the real server with options for the destination or a routing header. Where the kernel tracks connections, it
# takes away a fragment header behind those, and then reads what follows as another one than the rules do: a SYN could
# hide there. Nobody sends mail so: docs/firewall.md.
unordered() {
    [ "$1$headers" = 6yes ] || return 0
    echo ":MXALLOWD_HEADERS - [0:0]"
    for host in $real; do
        echo "-A MXALLOWD_HEADERS -d $host -j DROP"
    done
    for chain in $chains; do
        for header in ipv6-opts ipv6-route; do
            jump="-A $chain -m ipv6header --header $header --soft -j MXALLOWD_HEADERS"
            saved 6 | grep -qx -e "$table $jump" || echo "$jump"
        done
    done
}

# What leads direct hosts from the fake server to the real one, in the table nat; without $direct, what takes it away.
leading() {
    jump="PREROUTING -p tcp --dport 25 --syn -j MX_DIRECT"
    jumps=$(saved "$1" | grep -c '^nat -A PREROUTING .*-j MX_DIRECT$' || true)
    if [ -n "$direct" ]; then
        printf '%s\n' "*nat" ":MX_DIRECT - [0:0]"
        for host in $fake; do
            echo "-A MX_DIRECT -d $host -m set --match-set mx_direct$1 src -j DNAT --to-destination $direct"
        done
        [ "$jumps" != 0 ] || echo "-A $jump"
        echo COMMIT
    elif saved "$1" | grep -q '^nat :MX_DIRECT '; then
        printf '%s\n' "*nat" ":MX_DIRECT - [0:0]"
        [ "$jumps" = 0 ] || echo "-D $jump"
        printf '%s\n' "-X MX_DIRECT" COMMIT
    fi
}

# What keeps connections to port 25 of the servers out of connection tracking, in the table raw; without track=notrack,
# what takes it away. Those of programs of this host stay: their first packet has been tracked on the way out.
untracking() {
    if [ "$track" = notrack ]; then
        printf '%s\n' "*raw" ":MX_NOTRACK - [0:0]"
        for host in $fake $real; do
            printf '%s\n' "-A MX_NOTRACK -d $host -j CT --notrack" "-A MX_NOTRACK -s $host -j CT --notrack"
        done
    elif saved "$1" | grep -q '^raw :MX_NOTRACK '; then
        printf '%s\n' "*raw" ":MX_NOTRACK - [0:0]"
    else
        return 0
    fi
    for jump in "PREROUTING ! -i lo -p tcp --dport 25" "OUTPUT ! -o lo -p tcp --sport 25"; do
        if saved "$1" | grep -q "^raw -A ${jump%% *} .*-j MX_NOTRACK\$"; then
            [ "$track" = notrack ] || echo "-D $jump -j MX_NOTRACK"
        else
            [ "$track" != notrack ] || echo "-A $jump -j MX_NOTRACK"
        fi
    done
    [ "$track" = notrack ] || echo "-X MX_NOTRACK"
    echo COMMIT
}

restore() {
    replacement "$1" | "$(program "$1")-restore" --noflush -w 10 ${2-} 2>&1
}

# Removes what an earlier version of this file left for IPv$1 elsewhere than in the chains $3 of the table $2. (The
# chain MXALLOWD_OUT is that of outbound.sh.)
clear_other_places() {
    saved "$1" | awk -v table="$2" -v chains=" $3 " -v own=" MXALLOWD MXALLOWD_HEADERS $subchains " '
        $2 ~ /^:MXALLOWD/ && $2 != ":MXALLOWD_OUT" && !($1 == table && index(own, " " substr($2, 2) " ")) {
            flushed[$1] = flushed[$1] $2 " - [0:0]\n"; removed[$1] = removed[$1] "-X " substr($2, 2) "\n"; found[$1] = 1
        }
        / -j MXALLOWD(_HEADERS)?$/ && !($1 == table && index(chains, " " $3 " ")) {
            where = $1; sub(/^[^ ]+ -A/, "-D"); jumps[where] = jumps[where] $0 "\n"; found[where] = 1
        }
        END { for (one in found) printf "*%s\n%s%s%sCOMMIT\n", one, flushed[one], jumps[one], removed[one] }' |
        "$(program "$1")-restore" --noflush -w 10
}

# The properties of an ipset that tell one set from another, in one order.
properties() {
    echo "$1" | sed -E 's/(hashsize|bucketsize|initval) [^ ]+//g; s/(family|maxelem|timeout|netmask) /\1=/g' |
        tr -s ' ' '\n' | sort | tr '\n' ' '
}

case $track in yes | no | notrack) ;; *) fail "track=$track is none of yes, no and notrack" ;; esac
versions=
for version in 4 6; do
    eval "servers=\$fake$version\$real$version"
    if ! command -v "$(program $version)-restore" >/dev/null; then
        [ $version = 6 ] || fail "the program iptables is not installed"
        [ -z "$servers" ] || say "the program ip6tables is not installed: the rules are those for IPv4 alone"
    elif ! why=$("$(program $version)" -w 10 -t "$table" -S 2>&1 >/dev/null); then
        [ $version = 6 ] || fail "$why"
        [ -z "$servers" ] || say "no rules for IPv6, those for IPv4 alone: $why"
    else
        versions="$versions $version"
    fi
done

[ -z "$direct4$direct6" ] || sets="$sets mx_direct"
options_mx_direct="maxelem 1000000" type_mx_direct=hash:net
if [ -n "$sets" ]; then
    command -v ipset >/dev/null || fail "the program ipset is not installed"
    for set in $sets; do
        for version in 4 6; do
            eval "options=\${options_$set$version:-\${options_$set:-\$set_options}}"
            eval "type=\${type_$set:-hash:ip}"
            wanted="$type family $([ $version = 4 ] && echo inet || echo inet6) $options"
            found=$(ipset list -t "$set$version" 2>/dev/null | sed -n 's/^Type: //p; s/^Header: //p' | tr '\n' ' ')
            [ -z "$found" ] || [ "$(properties "$found")" = "$(properties "$wanted")" ] || fail "\
the set $set$version has $(properties "$found")and this file says $(properties "$wanted")which cannot be changed. \
Exchange the set, and mxallowd fills it again: ipset create mx_new $wanted && ipset swap mx_new $set$version \
&& ipset destroy mx_new"
        done
    done
    for set in $sets; do
        eval "options4=\${options_${set}4:-\${options_$set:-\$set_options}} type=\${type_$set:-hash:ip}"
        eval "options6=\${options_${set}6:-\${options_$set:-\$set_options}}"
        ipset create -exist "${set}4" $type family inet $options4
        ipset create -exist "${set}6" $type family inet6 $options6 2>/dev/null ||
            say "no set ${set}6: this kernel has no IPv6"
    done
fi

# Both families are tried before one is changed.
headers=yes
for version in $versions; do
    why=$(restore $version --test) && continue
    if [ $version = 6 ] && headers=no && restore 6 --test >/dev/null; then
        say "the match ipv6header is missing ($(echo "$why" | head -n 1)): IPv6 headers may hide a SYN from the rules"
        continue
    fi
    headers=yes
    if [ "$track" = yes ]; then
        track=no
        restore $version --test >/dev/null || fail "$why"
        say "this kernel does not track connections ($why): age alone decides who makes room in a full whitelist"
    else
        fail "$why"
    fi
done
for version in $versions; do
    eval "servers=\$fake$version\$real$version"
    if [ -n "$servers" ]; then
        restore $version || exit 1
        clear_other_places $version "$table" "$chains"
    else
        for part in leading untracking; do
            (direct="" track=no; $part $version) | "$(program $version)-restore" --noflush -w 10
        done
        clear_other_places $version "" ""
    fi
    saved $version | awk -v program="$(program $version)" '
        $2 == "-A" && $3 !~ /^MXALLOWD/ && / --dport 25 / && / -j (NFQUEUE|MX_FAKE|MX_REAL)( |$)/ {
            where = $1; sub(/^[^ ]+ -A/, "-D")
            print "mxallowd: another rule sends port 25 to a queue. If it is an earlier one of mxallowd: " \
                program " -t " where " " $0 > "/dev/stderr"
        }'
done
