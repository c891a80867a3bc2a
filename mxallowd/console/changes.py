"""What a click changes: each function takes a form, asks the daemon in the name of the user, and says what came of it.

All of them may be sent twice: what is let in already stays in, and what is gone is said to be gone. Which way it fails:
a form that is not as it must be, and a refusal of the daemon, change nothing and say so; where no answer came, it says
that nobody knows.
"""
import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mxallowd.console import fields
from mxallowd.console.asking import Daemon, Document, Refusal, Unreachable, path_of
from mxallowd.console.render import duration, plain
from mxallowd.console.visit import Change, Done, Outcome, Visit
from mxallowd.control.exchange import RequestError
from mxallowd.text import quoted

DAY_S = 86_400
LISTS = ("allow", "deny", "direct")
NAMED = 3  # of many, so many are named
# For many changes of one click, and for all of it: less than the site waits (site.py), which knows no more then.
MANY_S, LONGEST_S = 12.0, 25.0
TOO_LONG = f"the daemon did not answer within {LONGEST_S:.0f} seconds"
FORBIDDEN = 403
NOT_ALLOWED = ("; the console may look only: the option control-change-group of mxallowd, with the group of "
               "mxallowd-console, lets it change")


class Came(NamedTuple):
    """What one change came to."""

    text: str
    outcome: Outcome = Outcome.DONE
    odd: bool = False  # done, and not as it was asked for: what else holds, or that a restart ends it


Told = Callable[[Visit, Daemon], Awaitable[Came]]


def _change(otherwise: str, asked: str) -> Callable[[Told], Change]:
    """A change whose text is told on the page that its form stood on, or else on `otherwise`; `asked` says what it is.

    What was not done, and what nobody knows, names its target: it may be all that the page can show.
    """
    def of(told: Told) -> Change:
        async def run(visit: Visit, daemon: Daemon) -> Done:
            if not visit.visitor.may_change:
                raise RequestError(403, "look-only", f"the user {visit.visitor.name} may look, and change nothing")
            back, what = fields.back(visit.form, otherwise), fields.named(visit.form)
            name = visit.form.get("list", "")
            this = f" ({asked.format(what=what, list=name if name in LISTS else 'a list')})" if what else ""
            try:
                async with asyncio.timeout(LONGEST_S):
                    came = await told(visit, daemon)
                    return Done(back, came.text, came.outcome)
            except RequestError as error:
                return Done(back, f"Nothing was changed{this}: {error}.", Outcome.REFUSED)
            except Refusal as error:
                return Done(back, f"Nothing was changed{this}: {_refused(error)}.", Outcome.REFUSED)
            except (Unreachable, TimeoutError) as error:
                return Done(back, f"Nobody knows whether it was done{this}: {error or TOO_LONG}.", Outcome.UNKNOWN)
        return run
    return of


@_change("/search", "let in {what}")
async def let_in(visit: Visit, daemon: Daemon) -> Came:
    """Let addresses or a network in: `how` is day or good; `what`, `note`."""
    how, note, by = visit.form.get("how", ""), fields.note(visit.form), visit.visitor.name
    if how not in ("day", "good"):
        raise RequestError(400, "bad-request", f"how {quoted(how)} is neither day nor good")

    async def one(what: str) -> Came:
        if how == "good":
            answer = await daemon.change("POST", "/v1/lists/allow", _noted({"network": what}, note), by)
            return _came(f"{what} is let in for good", answer)
        key = "network" if "/" in what else "address"
        answer = await daemon.change("POST", "/v1/entries", _noted({key: what, "seconds": DAY_S}, note), by)
        left = f", for {duration(answer['seconds_left'])}" if "seconds_left" in answer else ""
        until = f"until {answer['until']}{left}" if answer["until"] else "for good, as it was before"
        return _came(f"{what} is let in {until}", answer)

    return await _each(_some(fields.targets(visit.form)), one, "were let in")


@_change("/whitelist", "remove {what}")
async def remove(visit: Visit, daemon: Daemon) -> Came:
    """Take addresses, or a network and all of it, out of the whitelist, and what was let in by hand as exactly this."""
    async def one(what: str) -> Came:
        try:
            answer = await daemon.change("DELETE", path_of("v1", "entries", what), None, visit.visitor.name)
        except Refusal as error:
            if error.status != 404:
                raise
            _, but, still = str(error).partition(", but ")
            return Came(f"{what} was not in the whitelist any more{but}{still}.", Outcome.NOTHING)
        count = answer.get("removed")
        return _came(f"{what} was removed{f', entries and lines: {count}' if '/' in what else ''}", answer)

    return await _each(_some(fields.targets(visit.form)), one, "were removed")


@_change("/lists", "add {what} to {list}")
async def list_add(visit: Visit, daemon: Daemon) -> Came:
    """Add a line by hand: `list`, `network`, `note`, `seconds` (empty: for good)."""
    name, network = _list(visit.form), fields.changed(visit.form.get("network", ""))
    body = _noted({"network": network}, fields.note(visit.form))
    lasts = fields.seconds(visit.form)
    if lasts is not None:
        body["seconds"] = lasts
    answer = await daemon.change("POST", path_of("v1", "lists", name), body, visit.visitor.name)
    until = f" until {answer['until']}" if answer.get("until") else ""
    not_led = answer.get("not_led")
    led = f" Nobody is led to the real server, though: {not_led}." if not_led else ""
    return Came(f"{network} stands in {name}{until}{_unkept(answer)}.{led}{overruled(answer)}")


@_change("/lists", "take {what} out of {list}")
async def list_remove(visit: Visit, daemon: Daemon) -> Came:
    """Remove a line that was added by hand: `list`, `network`."""
    name, network = _list(visit.form), fields.target(visit.form.get("network", ""))
    try:
        await daemon.change("DELETE", path_of("v1", "lists", name), {"network": network}, visit.visitor.name)
    except Refusal as error:
        if error.status != 404:
            raise
        return Came(f"{network} was not in {name} any more: {error}.", Outcome.NOTHING)
    return Came(f"{network} was removed from {name}.")


@_change("/lists", "ask for the records of {what}")
async def trust_refresh(visit: Visit, daemon: Daemon) -> Came:
    """Have the records of trusted senders asked for now: `domain` (empty: of all)."""
    domain = visit.form.get("domain", "").strip()
    answer = await daemon.change(
        "POST", "/v1/trust/refresh", {"domain": domain} if domain else {}, visit.visitor.name)
    asked, again = answer.get("asked"), answer.get("again_seconds")
    soon = f" Others were asked for a moment ago: again in {again} s." if again else ""
    return Came(f"Records that are asked for now: {asked}.{soon}", Outcome.DONE if asked else Outcome.NOTHING)


def _came(done: str, answer: Mapping[str, Any]) -> Came:
    """What was done, with what of the answer makes it less than it sounds."""
    unkept, still = _unkept(answer), overruled(answer)
    return Came(f"{done}{unkept}.{still}", odd=bool(unkept or still))


def overruled(answer: Mapping[str, Any]) -> str:
    """Which lines of lists decide otherwise than what was done; empty where none does."""
    said = ""
    for key, word, stays in (
            ("denied_by", "denied", "stays refused"), ("allowed_by", "allowed", "gets in all the same")):
        lines = answer.get(key) or []
        if lines:
            named = ", ".join(f"{plain(one['network'])} ({one['source']})" for one in lines[:NAMED])
            more = " and others" if len(lines) > NAMED or answer.get(f"{key}_more") else ""
            said += f" It, or a part of it, {stays}: {word} by {named}{more}, which still holds."
    return said


async def _each(whats: Sequence[str], one: Callable[[str], Awaitable[Came]], done: str) -> Came:
    """What came of each; of many the number, those that were refused, and where it ended too early."""
    if len(whats) == 1:
        return await one(whats[0])
    came: list[Came] = []
    refused: list[str] = []
    unknown = ""
    until = time.monotonic() + MANY_S
    for number, what in enumerate(whats):
        if time.monotonic() >= until:
            unknown = f"There was no more time:{_untried(len(whats) - number)}"
            break
        try:
            came.append(await one(what))
        except Refusal as error:
            refused.append(f"{what}: {_refused(error)}")
        except Unreachable as error:
            # What has been done is done, and is told.
            unknown = f"Nobody knows whether it was done for {what}: {error}.{_untried(len(whats) - number - 1)}"
            break
    changed = sum(one.outcome is Outcome.DONE for one in came)
    # What is worth a word is what is not as it was asked for.
    strange = [one.text for one in came if one.odd or one.outcome is Outcome.NOTHING]
    parts = [f"{changed} of {len(whats)} {done}.", *strange[:NAMED]]
    if len(strange) > NAMED:
        parts.append(f"And {len(strange) - NAMED} further ones like that.")
    if refused:
        more = f", and {len(refused) - NAMED} others" if len(refused) > NAMED else ""
        parts.append(f"Not done: {'; '.join(refused[:NAMED])}{more}.")
    if unknown:
        return Came(" ".join([*parts, unknown]), Outcome.UNKNOWN)
    nothing = Outcome.REFUSED if refused else Outcome.NOTHING
    return Came(" ".join(parts), Outcome.DONE if changed else nothing)


def _untried(number: int) -> str:
    return f" {number} {'was' if number == 1 else 'were'} not tried." if number else ""


def _some(whats: list[str]) -> list[str]:
    if not whats:
        raise RequestError(400, "bad-request", "nothing was chosen")
    return whats


def _list(form: Mapping[str, str]) -> str:
    name = form.get("list", "")
    if name not in LISTS:
        raise RequestError(400, "bad-request", f"list {quoted(name)} is none of {', '.join(LISTS)}")
    return name


def _noted(body: Document, note: str) -> Document:
    return body | {"note": note} if note else body


def _unkept(answer: Mapping[str, Any]) -> str:
    """What holds now and is lost at a restart, where that cannot be kept."""
    return "" if answer.get("kept", True) else f", but no longer than until mxallowd restarts ({answer.get('reason')})"


def _refused(error: Refusal) -> str:
    return f"{error}{NOT_ALLOWED if error.status == FORBIDDEN else ''}"


CHANGES: dict[str, Change] = {
    "/change/let-in": let_in, "/change/remove": remove, "/change/list-add": list_add,
    "/change/list-remove": list_remove, "/change/trust-refresh": trust_refresh,
}
