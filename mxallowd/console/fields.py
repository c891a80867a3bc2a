"""What a form or a query of a browser has, checked before the daemon is asked. Each fault quotes what was sent.

Addresses, networks and notes are read as the daemon reads them, so that there is one opinion on what they are. One more
bound is the console's own: no click changes more than LARGEST of the world.
"""
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from mxallowd.console.render import plain
from mxallowd.control.answers.bodies import bad, host_of, network_of, note_of, seconds_of
from mxallowd.control.exchange import RequestError
from mxallowd.engine.events import address_text
from mxallowd.text import printable, quoted

LARGEST = {4: 8, 6: 16}  # by the version of IP, the shortest prefix that a form may change
MOST_TARGETS = 250  # of one form
LONGEST_BACK, MOST_BACK = 2_000, 16  # characters, parameters
# A form leads back to the page it stood on: to one of these and nowhere else.
BACK = ("/search", "/refused", "/whitelist", "/lists")
NAMED, LONGEST_NAMED = 3, 100  # of many, so many are named, with so many characters
LONGEST_LOGGED = 1000  # characters; more than one name has
TICKED = "tick:"  # how the name of a box begins that is ticked for an address


def target(text: str) -> str:
    """An address or a network, as the daemon writes it. Raises RequestError."""
    text = text.strip()
    if "/" not in text:
        return address_text(host_of(text))
    network = network_of(text)
    if network.prefixlen == network.max_prefixlen:
        return address_text(host_of(str(network.network_address)))
    return str(network)


def changed(text: str) -> str:
    """The same of what is to be changed: no network that a slip would make too large. Raises RequestError."""
    what = target(text)
    if "/" in what:
        network = network_of(what)
        if network.prefixlen < LARGEST[network.version]:
            raise bad(f"{what} is larger than a /{LARGEST[network.version]}: mxallowctl changes it, and this page "
                      "does not")
    return what


def targets(form: Mapping[str, str]) -> list[str]:
    """What a form is about: the words of its field `what`, or else what was ticked. Raises RequestError."""
    words = form["what"].split() if "what" in form else [
        name.removeprefix(TICKED) for name in form if name.startswith(TICKED)]
    if len(words) > MOST_TARGETS:
        raise bad(f"these are {len(words)} at once, and at most {MOST_TARGETS} are changed by one click")
    return list(dict.fromkeys(map(changed, words)))


def named(form: Mapping[str, str]) -> str:
    """What a form is about, as it was sent, for people; of many the first ones. Checks nothing."""
    words = _sent(form)
    shown = " ".join(printable(plain(word[:LONGEST_NAMED])) for word in words[:NAMED])
    return f"{shown} and {len(words) - NAMED} others" if len(words) > NAMED else shown


def everything(form: Mapping[str, str]) -> str:
    """What a form is about, as it was sent, for the log: all of it, or as much as LONGEST_LOGGED characters have."""
    words = [printable(plain(word[:LONGEST_NAMED])) for word in _sent(form)]
    text = " ".join(words)
    if len(text) <= LONGEST_LOGGED:
        return text
    kept = text[:LONGEST_LOGGED + 1].rpartition(" ")[0].split(" ")
    return f"{' '.join(kept)} and {len(words) - len(kept)} others"


def _sent(form: Mapping[str, str]) -> list[str]:
    words = form.get("what", "").split() or [name.removeprefix(TICKED) for name in form if name.startswith(TICKED)]
    return words or [form[name].strip() for name in ("network", "domain") if form.get(name, "").strip()]


def note(form: Mapping[str, str]) -> str:
    """The note of a form. Raises RequestError."""
    return note_of(form.get("note", "").strip())


def seconds(form: Mapping[str, str]) -> int | None:
    """For how long; None: for good. Raises RequestError."""
    text = form.get("seconds", "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise bad(f"seconds {quoted(text)} is not a number")
    return seconds_of(int(text), 0)


def back(form: Mapping[str, str], otherwise: str) -> str:
    """Where to go afterwards: a page of BACK with its query, made anew from its parts; else `otherwise`."""
    path, _, query = form.get("back", "")[:LONGEST_BACK].partition("?")
    if path not in BACK:
        return otherwise
    try:
        pairs = parse_qsl(query, max_num_fields=MOST_BACK)
    except ValueError:
        return path
    return f"{path}?{urlencode(pairs)}" if pairs else path


def here(path: str, query: Mapping[str, str]) -> str:
    """The page that is shown, for the field `back` of its forms."""
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def filters(query: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """Those parameters of a query that are not empty."""
    return {name: value.strip() for name, value in query.items() if name in names and value.strip()}


def limit(query: Mapping[str, str], usual: int, most: int) -> int:
    """How many rows. Raises RequestError."""
    text = query.get("limit", "").strip() or str(usual)
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not 1 <= int(text) <= most:
        raise RequestError(400, "bad-request", f"limit {quoted(text)} is not a number from 1 to {most}")
    return int(text)
