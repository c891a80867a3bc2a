"""The compiled parsers are reached by their tests, and what counts that (tests/lines) counts what it should."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builds import LAST
from tests.lines import run
from tests.lines.compiled import statements

ROOT = Path(__file__).parent.parent
C_OF_A_FUNCTION = """\
/* "mxallowd/_x.pyx":6
 * cdef int f(size_t length) noexcept nogil:             # <<<<<<<<<<<<<<
*/
static int f(size_t __pyx_v_length) {
  int __pyx_r;

  /* "mxallowd/_x.pyx":7
 *     if length == 0:             # <<<<<<<<<<<<<<
*/
  __pyx_t_1 = (__pyx_v_length == 0);
  if (__pyx_t_1) {

    /* "mxallowd/_x.pyx":8
 *         return 1             # <<<<<<<<<<<<<<
*/
    __pyx_r = 1;
    goto __pyx_L0;

    /* "mxallowd/_x.pyx":7
 *     if length == 0:             # <<<<<<<<<<<<<<
*/
  }

  /* "mxallowd/_x.pyx":9
 *     cdef int unused             # <<<<<<<<<<<<<<
*/

  /* "mxallowd/_y.pxd":3
 *     raise ValueError             # <<<<<<<<<<<<<<
*/
  goto __pyx_L1_error;

  /* "mxallowd/_x.pyx":6
 * cdef int f(size_t length) noexcept nogil:             # <<<<<<<<<<<<<<
*/

  /* function exit code */
  __pyx_L0:;
  return __pyx_r;
}
"""


def test_a_line_counts_as_often_as_its_first_line_of_c() -> None:
    """Neither what follows a block nor the function's end, where others jump to, makes a line look reached."""
    by_c_line = {4: 4, 10: 4, 11: 4, 16: 0, 17: 0, 31: 3, 38: 4, 39: 4}
    assert statements(C_OF_A_FUNCTION, by_c_line) == [
        ("mxallowd/_x.pyx", 6, 4), ("mxallowd/_x.pyx", 7, 4), ("mxallowd/_x.pyx", 8, 0), ("mxallowd/_y.pxd", 3, 3)]


def test_lines_are_summed_up() -> None:
    assert run.ranges([9, 1, 2, 3, 5]) == "1-3 5 9"
    files = [run.Figures("a", 90, [1]), run.Figures("b", 10, list(range(9)))]
    assert run.share(files) == pytest.approx(90)
    # Nothing measured is not all.
    assert run.share([]) == 0


def test_what_is_left_out_is_there() -> None:
    """A test that has another name by now would be run again, where it fails or takes long."""
    assert all((ROOT / "tests" / f"{name}.py").exists() for name in (*run.LEFT_OUT, *run.PARSER_TESTS))
    for test in (*run.DESELECTED, *run.DESELECTED_OF_PARSERS):
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), test


@pytest.mark.skipif(sys.platform != "linux", reason="a parser is for Linux alone")
@pytest.mark.builds
@pytest.mark.timeout(300)
def test_the_parsers_are_reached_by_their_tests() -> None:
    done = subprocess.run(
        [*LAST, sys.executable, "-m", "tests.lines.run", "--parsers"], cwd=ROOT, capture_output=True, text=True,
        timeout=280)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    shares = dict(re.findall(r"^(\S+\.pyx) .* (\S+) %", done.stdout, re.MULTILINE))
    assert {Path(name).stem for name in shares} == {"_headers", "_capture", "_nfnetlink"}
    assert all(float(percent) >= run.LEAST_PARSERS for percent in shares.values())
