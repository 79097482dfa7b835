import itertools
import json
import multiprocessing
import time

from hypothesis import given
from hypothesis import strategies as st

from destinations.http.limits import Limiter, account_file
from destinations.language.spec import RateLimit

DOCS = "https://example.com"


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@given(
    requests=st.integers(1, 300), per=st.sampled_from([0.5, 1.0, 10.0, 60.0]), gap=st.floats(0, 2)
)
def test_no_window_ever_holds_more_than_the_vendor_grants(tmp_path_factory, requests, per, gap):
    clock = Clock()
    path = tmp_path_factory.mktemp("limits") / "account.json"
    limiter = Limiter(
        path, [RateLimit(requests=requests, per=per, docs=DOCS)], clock=clock, sleep=clock.sleep
    )
    moments = []
    for number in range(min(3 * requests, 60)):
        assert limiter.acquire(1e9) == 0
        moments.append(clock.now)
        if number % 7 == 0:
            clock.now += gap
    for start in moments:
        assert sum(start <= moment < start + per - 1e-6 for moment in moments) <= requests


def test_several_buckets_hold_at_once(tmp_path):
    clock = Clock()
    limits = [RateLimit(requests=5, per=1, docs=DOCS), RateLimit(requests=8, per=60, docs=DOCS)]
    limiter = Limiter(tmp_path / "a.json", limits, clock=clock, sleep=clock.sleep)
    started = clock.now
    for _ in range(9):
        limiter.acquire(1e9)
    assert clock.now - started >= 60 - 1e-6


def test_a_closed_account_says_how_long(tmp_path):
    clock = Clock()
    limiter = Limiter(tmp_path / "a.json", [], clock=clock, sleep=clock.sleep)
    limiter.close_for(100)
    assert limiter.acquire(60) == 100
    clock.now += 50
    assert limiter.acquire(60) == 0
    assert clock.now >= 1_000_100


def test_those_who_wait_for_a_closed_account_do_not_all_go_at_once(tmp_path):
    limits = [RateLimit(requests=2, per=1, docs=DOCS)]
    clocks = [Clock() for _ in "abc"]
    for number, clock in enumerate(clocks):
        limiter = Limiter(tmp_path / "a.json", limits, clock=clock, sleep=clock.sleep)
        if number == 0:
            limiter.close_for(10)
        limiter.acquire(60)
    gone = [clock.now - 1_000_000 for clock in clocks]
    assert gone[0] == 10
    assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(gone))


def test_a_leave_does_not_outlast_the_closing_of_the_account(tmp_path):
    clock = Clock()
    limits = [RateLimit(requests=1, per=5, docs=DOCS)]
    other = Limiter(tmp_path / "a.json", [], clock=clock, sleep=clock.sleep)

    def closed_meanwhile(seconds):
        clock.sleep(seconds)
        if clock.now < 1_000_010:
            other.close_for(30)

    limiter = Limiter(tmp_path / "a.json", limits, clock=clock, sleep=closed_meanwhile)
    limiter.acquire(60)
    assert limiter.acquire(60) == 0
    assert clock.now >= 1_000_035


def test_a_leave_that_was_overslept_is_asked_for_again(tmp_path):
    clock = Clock()
    naps = []

    def oversleep(seconds):
        naps.append(seconds)
        clock.sleep(seconds + (2 if len(naps) == 1 else 0))

    limits = [RateLimit(requests=1, per=1, docs=DOCS)]
    limiter = Limiter(tmp_path / "a.json", limits, clock=clock, sleep=oversleep)
    taken = Limiter(tmp_path / "a.json", limits, clock=clock, sleep=clock.sleep)
    taken.acquire(60)
    assert limiter.acquire(60) == 0
    gone = clock.now
    taken.acquire(60)
    assert clock.now - gone >= 1


def test_a_kill_amid_writing_leaves_a_state_that_can_be_read(tmp_path):
    path = tmp_path / "a.json"
    limits = [RateLimit(requests=5, per=1, docs=DOCS)]
    Limiter(path, limits).close_for(1_000_000)
    before = path.read_bytes()
    path.write_bytes(before + b" " * 100)  # what a longer state left behind
    assert Limiter(path, limits).acquire(0) > 0
    assert json.loads(path.read_bytes())["closed_until"] > time.time()


def test_a_damaged_file_is_begun_again(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{")
    assert Limiter(path, []).acquire(0) == 0


def test_accounts_are_told_apart_by_their_secrets(tmp_path):
    one = account_file(tmp_path, "d", {"key": "a"})
    assert one != account_file(tmp_path, "d", {"key": "b"})
    assert one == account_file(tmp_path, "d", {"key": "a"})
    assert "hunter2" not in account_file(tmp_path, "d", {"key": "hunter2"}).name


def _take(path, count, moments):
    limiter = Limiter(path, [RateLimit(requests=20, per=1, docs=DOCS)])
    for _ in range(count):
        limiter.acquire(60)
        moments.put(time.time())


def test_processes_share_one_account(tmp_path):
    context = multiprocessing.get_context("fork")
    moments = context.Queue()
    workers = [context.Process(target=_take, args=(tmp_path / "a.json", 15, moments)) for _ in "ab"]
    started = time.time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert moments.qsize() == 30
    assert time.time() - started >= 30 / 20 - 0.2
