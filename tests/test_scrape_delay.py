"""A scrape delays no verdict: with ten a second the slowest hundredth of connections is as fast as without."""
import pytest

from benchmarks.scrape import measure, quantile

ALLOWED = 1.05
# Other work of the machine makes the slowest hundredth of a short time slower or faster by a third; what a scrape does
# to a verdict it does every time.
TRIES = 5


@pytest.mark.alone
def test_ten_scrapes_a_second_delay_no_verdict() -> None:
    ratios = []
    for _ in range(TRIES):
        found = measure(blocks=8, seconds=0.4, rate=10)
        assert found.scrapes >= 8 * 3
        assert min(len(found.quiet), len(found.scraped)) > 500
        assert quantile(found.quiet, 0.99) > 0
        ratios.append(round(found.ratio(0.99), 3))
        if ratios[-1] <= ALLOWED:
            return
    raise AssertionError(f"p99 with scrapes to without: {ratios}")
