# shellcheck shell=sh
# What the steps have in common. Each of them runs in the machine that scripts/test-packages has started.
# The gateway's addresses and two hosts outside.
FAKE=192.0.2.10 REAL=192.0.2.20 SENDER=192.0.2.7 SPAMMER=192.0.2.66

# Whether a command fails. (A "!" before it would hide a success: the shell does not end there.)
not() {
    if "$@"; then
        echo "succeeded: $*"
        return 1
    fi
}

make_network() {
    ip netns add outside
    ip link add mail0 type veth peer name eth0 netns outside
    ip address add $FAKE/24 dev mail0
    ip address add $REAL/24 dev mail0
    ip link set mail0 up
    ip netns exec outside ip address add $SENDER/24 dev eth0
    ip netns exec outside ip address add $SPAMMER/24 dev eth0
    ip netns exec outside ip link set eth0 up
    systemd-run --quiet --unit=mail-server python3 -c "
import socketserver
class Greeting(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b'220 mail')
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(('$REAL', 25), Greeting).serve_forever()"
    until connect $SPAMMER $REAL greeting; do sleep 0.1; done
}

# connect FROM TO greeting|refused|silence: whether a host outside gets just that.
connect() {
    ip netns exec outside python3 -c "
import socket, sys
try:
    with socket.create_connection((sys.argv[2], 25), 2, (sys.argv[1], 0)) as open:
        found = 'greeting' if open.recv(99) == b'220 mail' else 'nothing'
except ConnectionRefusedError:
    found = 'refused'
except TimeoutError:
    found = 'silence'
print(sys.argv[1:], found)
sys.exit(found != sys.argv[3])" "$@"
}

# Until a command succeeds, for half a minute.
wait_for() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || {
            echo "in vain: $*"
            return 1
        }
        sleep 0.1
    done
}

# Whether daemon, broker and guard run, and no Python of the service without -I: the environment, the current directory and
# a user's own packages say nothing of what is loaded. What lists the firewall's rules is there for a moment now and then.
whole() {
    for process in $(cat "/sys/fs/cgroup$(systemctl show -P ControlGroup mxallowd)/cgroup.procs"); do
        { tr '\0' ' ' <"/proc/$process/cmdline" && echo; } 2>/dev/null || continue
    done | grep . >/tmp/processes
    cat /tmp/processes
    grep -q ' /usr/sbin/mxallowd --foreground ' /tmp/processes
    grep -q ' mxallowd\.lists\.broker ' /tmp/processes
    grep -q ' mxallowd\.watchdog\.guard ' /tmp/processes
    not grep -v -e '^[^ ]*/python3[^ ]* -I /usr/' -e '^/usr/sbin/nft list ruleset $' \
        -e '^/usr/sbin/ip6\?tables-\(legacy-\)\?save $' /tmp/processes
    mxallowctl status >/tmp/status
    not grep broker /tmp/status
}

# logged PATTERN: whether the journal has a line of mxallowd with it that came by syslog.
logged() {
    journalctl --quiet --no-pager --output=cat --unit=mxallowd _TRANSPORT=syslog --grep="$1"
}
