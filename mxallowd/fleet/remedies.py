"""What mends a fault of the engine, in a few words for people; doctor has commands for the same."""
from mxallowd.fleet.opening import LinkError
from mxallowd.settings.fleet import CLI

# By the word of the engine's error.
_BY_CODE = {
    "OOM": "raise maxmemory of the engine, and leave maxmemory-policy noeviction",
    "NOPERM": "give the user the rights of docs/fleet.md (ACL SETUSER)",
    "NOAUTH": "put user and password into fleet-login-file, and reload",
    "WRONGPASS": "put the right user and password into fleet-login-file, and reload",
    "READONLY": "name the master in fleet, or the Sentinels that know it",
    "MASTERDOWN": "name the master in fleet, or the Sentinels that know it",
    "WRONGTYPE": f"{CLI} del of that key (docs/fleet.md): each gateway says its entries again",
    "MOVED": "name one server in fleet that is in no cluster, or the Sentinels that know it",
    "MISCONF": "give the engine's disk room (the engine's log says what is wrong)",
    "LOADING": "wait until the engine has read its file (its log says how far it is)",
}
# By what is said about the connection, the first that is in it.
_BY_WORDS = (
    ("knows no such master", "name the master in fleet as the Sentinels do, and restart"),
    ("Connection refused", "start the engine there, or mend host and port in fleet"),
    ("no connection within", "mend the way to it (its host, its address, a firewall); with rediss, it may have no TLS"),
    ("no answer within", "look at the engine's host: it hangs, or nothing comes back from it (a firewall)"),
    ("No such file", "start the engine, or name in fleet what its unixsocket is"),
    ("Permission denied", "let the daemon's user use the socket: its group, and unixsocketperm 770 of the engine"),
    ("certificate required", "name a certificate that the engine trusts in fleet-cert-file, and restart"),
    ("certificate", "name in fleet an address that its certificate has, and its authority in fleet-ca-file"),
    ("TLS failed", "with rediss the engine needs tls-port there; without TLS it is redis"),
    ("reset by peer", "look into the engine's log; with redis where it has TLS this is what is seen: then rediss"),
    ("connection is lost", "nothing, if it comes once (a restart, acl load); else look into the engine's log"),
    ("cannot be looked up", "mend the name in fleet, or who answers for it (/etc/hosts, the name server)"),
    ("address", "mend the name in fleet, or who answers for it (/etc/hosts, the name server)"),
    ("unreachable", "mend the network to it"),
    ("No route to host", "mend the network to it, or start its host"),
    ("is the least", "a newer engine"),
)


def remedy(error: LinkError) -> str:
    """What mends it; empty: that is not known."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    text = str(error)
    return next((mend for words, mend in _BY_WORDS if words in text), "")
