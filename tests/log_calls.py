"""Every line of log that the package can write, as its sources say it.

A line is written by a call of info, warning, error or notice, with a literal word and named values, or by
line_record() with a literal word and a literal dict; `**request.who` are its keys user and by. Two more ways are
followed: a method of the log in a local name (`say = log.info if … else log.warning`), and words that a method returns
as pairs of word and reason (`for word, reason in backend.tick()`). All else is Hidden, since nobody could hold it
against the table.
"""
import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LEVELS = {"info": "info", "notice": "info", "warning": "warning", "error": "error"}
LOGS = {"log", "hostlog"}
# What the log itself has to hand a word on that it was called with.
FORWARDING = {*LEVELS, "_write", "_hand_over"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Call:
    """A line that can be written. Keys of a dict from elsewhere are one key …"""

    level: str
    word: str
    host: bool
    keys: tuple[str, ...]
    where: str

    def __str__(self) -> str:
        return " ".join([self.level, self.word, *(["[host]"] if self.host else []), *(f"{key}=" for key in self.keys)])


class Hidden(Exception):
    """A call of which nobody can read the line."""


def calls_of(sources: dict[str, str]) -> list[Call]:
    """The lines that these sources, text by name, can write. Raises Hidden."""
    trees = {name: ast.parse(text) for name, text in sources.items()}
    returned: dict[str, set[str]] = {}
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                returned.setdefault(node.name, set()).update(_pairs(node))
    found: list[Call] = []
    for name, tree in trees.items():
        source = _Source(name, returned)
        source.visit(tree)
        source.check(tree)
        found += source.found
    return found


def calls_below(folder: Path) -> list[Call]:
    """The lines that the Python files of a folder can write. Raises Hidden."""
    return calls_of({str(path.relative_to(folder)): path.read_text(encoding="utf-8")
                     for path in sorted(folder.rglob("*.py"))})


def _pairs(function: Function) -> Iterator[str]:
    """The words of the pairs that it returns."""
    for statement in ast.walk(function):
        if isinstance(statement, ast.Return) and statement.value is not None:
            for node in ast.walk(statement.value):
                if isinstance(node, ast.Tuple) and len(node.elts) == 2 and (word := _text(node.elts[0])):
                    yield word


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _is_method_of_a_log(node: ast.AST) -> bool:
    if not isinstance(node, ast.Attribute) or node.attr not in LEVELS:
        return False
    name = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
    return name.lstrip("_") in LOGS


class _Source(ast.NodeVisitor):
    """One source, read function by function."""

    def __init__(self, name: str, returned: dict[str, set[str]]) -> None:
        self._name = name
        self._returned = returned
        self._functions: list[Function] = []
        self._followed: set[ast.AST] = set()
        self.found: list[Call] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Inside it, names are its own."""
        self._functions.append(node)
        self.generic_visit(node)
        self._functions.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """As above."""
        self._functions.append(node)
        self.generic_visit(node)
        self._functions.pop()

    def visit_Call(self, node: ast.Call) -> None:
        """Take it, where it writes a line."""
        self.generic_visit(node)
        if not self._functions:
            return
        if isinstance(node.func, ast.Name) and node.func.id == "line_record":
            level, word, address, values = node.args
            levels = {level.attr.lower()} if isinstance(level, ast.Attribute) else set()
            words = self._words(word)
            keys = self._keys_of(values) if words else ()
        elif levels := self._levels(node.func):
            if not node.args:
                raise self._hidden(node, "it has no word")
            words = self._words(node.args[0])
            keys = tuple(key for one in node.keywords for key in self._key(one)) if words else ()
            address = node.args[1] if len(node.args) > 1 else ast.Constant(None)
        else:
            return
        host = not (isinstance(address, ast.Constant) and address.value is None)
        self.found += [Call(level, word, host, keys, f"{self._name}:{node.lineno}")
                       for word in sorted(words) for level in sorted(levels)]

    def check(self, tree: ast.AST) -> None:
        """Nothing of the log goes another way. Raises Hidden."""
        for node in ast.walk(tree):
            if _is_method_of_a_log(node) and node not in self._followed:
                raise self._hidden(node, "a method of the log goes where nobody can follow it")

    def _levels(self, called: ast.expr) -> set[str]:
        """The levels of a call; none: it is no call of a log."""
        # Whatever it is called on: nothing else in the package has methods of these names.
        methods: list[ast.AST] = [called] if isinstance(called, ast.Attribute) and called.attr in LEVELS else []
        if isinstance(called, ast.Name):
            methods = [part for value in self._assigned(called.id) for part in ast.walk(value)
                       if _is_method_of_a_log(part)]
        self._followed.update(methods)
        return {LEVELS[method.attr] for method in methods if isinstance(method, ast.Attribute)}

    def _words(self, node: ast.expr) -> set[str]:
        word = _text(node)
        if word:
            return {word}
        function = self._functions[-1]
        if isinstance(node, ast.Name):
            if function.name in FORWARDING and node.id in {one.arg for one in function.args.args}:
                return set()
            if words := self._handed(node.id):
                return words
        raise self._hidden(node, "its word is not written there")

    def _handed(self, name: str) -> set[str]:
        """Words that a loop takes from what a method returns."""
        words: set[str] = set()
        for loop in ast.walk(self._functions[-1]):
            if isinstance(loop, ast.For) and isinstance(loop.target, ast.Tuple) \
                    and getattr(loop.target.elts[0], "id", "") == name:
                sources = self._assigned(loop.iter.id) if isinstance(loop.iter, ast.Name) else [loop.iter]
                for source in sources:
                    if isinstance(source, ast.Call) and isinstance(source.func, ast.Attribute):
                        words |= self._returned.get(source.func.attr, set())
        return words

    def _key(self, keyword: ast.keyword) -> tuple[str, ...]:
        return self._keys_of(keyword.value) if keyword.arg is None else (keyword.arg.replace("_", "-"),)

    def _keys_of(self, node: ast.expr) -> tuple[str, ...]:
        """The keys of a dict that is written there, or is local and written in the function."""
        if isinstance(node, ast.Call | ast.Await):
            return ("…",)
        if isinstance(node, ast.Attribute) and node.attr == "who":
            return ("user", "by")
        values, added = [node], []
        if isinstance(node, ast.Name):
            values = self._assigned(node.id)
            added = [target.slice for one in ast.walk(self._functions[-1]) if isinstance(one, ast.Assign)
                     for target in one.targets
                     if isinstance(target, ast.Subscript) and getattr(target.value, "id", "") == node.id]
        dicts = [part for value in values for part in ast.walk(value) if isinstance(part, ast.Dict)]
        texts = [_text(key) for key in [*(key for one in dicts for key in one.keys), *added]]
        if not dicts or None in texts:
            raise self._hidden(node, "its keys are not written there")
        return tuple(dict.fromkeys(text.replace("_", "-") for text in texts if text))

    def _assigned(self, name: str) -> list[ast.expr]:
        """What the function assigns to a local name."""
        return [node.value for node in ast.walk(self._functions[-1]) if isinstance(node, ast.Assign)
                and any(getattr(target, "id", "") == name for target in node.targets)]

    def _hidden(self, node: ast.AST, reason: str) -> Hidden:
        return Hidden(f"{self._name}:{getattr(node, 'lineno', 0)}: {reason}")
