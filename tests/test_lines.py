"""The compiled parsers are reached by their tests, and what counts that (tests/lines) counts what it should."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lines import run
from tests.lines.compiled import statements

ROOT = Path(__file__).parent.parent
C_OF_A_FUNCTION = """\
  /* "mxallowd/_x.pyx":7
 *     if length == 0:             # <<<<<<<<<<<<<<
*/
  __Pyx_TraceLine(7,1,1,__PYX_ERR(0, 7, __pyx_L1_error))
  __pyx_t_1 = (__pyx_v_length == 0);
  if (__pyx_t_1) {

    /* "mxallowd/_x.pyx":8
 *         return 1             # <<<<<<<<<<<<<<
*/
    __Pyx_TraceLine(8,2,1,__PYX_ERR(0, 8, __pyx_L1_error))
    __pyx_r = 1;
    goto __pyx_L0;

    /* "mxallowd/_x.pyx":7
 *     if length == 0:             # <<<<<<<<<<<<<<
*/
  }

  /* "mxallowd/_x.pyx":9
 *     else:             # <<<<<<<<<<<<<<
*/
  __Pyx_TraceLine(9,3,1,__PYX_ERR(0, 9, __pyx_L1_error))

  /* "mxallowd/_y.pxd":3
 *     return 0             # <<<<<<<<<<<<<<
*/
  __Pyx_TraceLine(3,4,1,__PYX_ERR(0, 3, __pyx_L1_error))
  __pyx_r = 0;
  __pyx_L0:;
"""


def test_a_statement_counts_as_often_as_its_first_line_of_c() -> None:
    """Neither what follows a block nor a label, which others jump to, makes a statement look reached."""
    by_c_line = {5: 4, 6: 4, 12: 0, 13: 0, 18: 4, 30: 4, 31: 4}
    assert statements(C_OF_A_FUNCTION, by_c_line) == [
        ("mxallowd/_x.pyx", 7, 4), ("mxallowd/_x.pyx", 8, 0), ("mxallowd/_y.pxd", 3, 4)]


def test_lines_are_summed_up() -> None:
    assert run.ranges([9, 1, 2, 3, 5]) == "1-3 5 9"
    files = [run.Figures("a", 90, [1]), run.Figures("b", 10, list(range(9)))]
    assert run.share(files) == pytest.approx(90)
    # Nothing measured is not all.
    assert run.share([]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="a parser is for Linux alone")
def test_the_parsers_are_reached_by_their_tests() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.lines.run", "--parsers"], cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    shares = dict(re.findall(r"^(\S+\.pyx) .* (\S+) %", done.stdout, re.MULTILINE))
    assert {Path(name).stem for name in shares} == {"_headers", "_capture", "_nfnetlink"}
    assert all(float(percent) >= run.LEAST_PARSERS for percent in shares.values())
