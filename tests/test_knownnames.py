"""Names of whitelisted hosts: bounded, and by whom they came."""
from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from mxallowd.sinks.knownnames import Known, KnownNames


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([b"1", b"2", b"3"])), max_size=40),
       st.integers(1, 5))
def test_the_newest_names_and_their_sources(noted: list[tuple[str, bytes]], most: int) -> None:
    names, model = KnownNames(most), OrderedDict[str, Known]()
    for number, (name, source) in enumerate(noted):
        known = Known(number, source, number)
        names.note(name, known)
        model[name] = known
        model.move_to_end(name)
        if len(model) > most:
            model.popitem(last=False)
        assert len(names) == len(model)
        assert {name: names.find(name) for name in "abcdef"} == {name: model.get(name) for name in "abcdef"}
        assert [names.has(one) for one in (b"1", b"2", b"3")] == [
            any(known.source == one for known in model.values()) for one in (b"1", b"2", b"3")]
    names.clear()
    assert not names.has(b"1") and len(names) == 0
