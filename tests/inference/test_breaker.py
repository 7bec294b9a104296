"""The circuit breaker opens, tries once, closes; and never lets two calls try."""

from threading import Barrier, Thread

from hypothesis import given
from hypothesis import strategies as st

from mapping.inference.breaker import Breaker, BreakerState


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(failures: int = 3) -> tuple[Breaker, Clock, list[BreakerState]]:
    clock, states = Clock(), list[BreakerState]()
    breaker = Breaker(failures=failures, seconds=5, clock=clock, changed=states.append)
    return breaker, clock, states


def call(breaker: Breaker, failed: bool | None, for_sure: bool = False) -> bool:
    """One call; False if it was not let through."""
    ticket = breaker.enter()
    if ticket is None:
        return False
    breaker.leave(ticket, failed=failed, for_sure=for_sure)
    return True


def test_it_opens_after_failures_in_a_row_and_closes_after_a_good_try() -> None:
    breaker, clock, states = make()
    assert all(call(breaker, failed) for failed in (True, True, False, True, True))
    assert breaker.state == "closed"
    call(breaker, True)
    assert breaker.state == "open"
    assert not call(breaker, False)
    clock.now += 5
    assert call(breaker, False)
    assert states == ["open", "half_open", "closed"]
    assert [call(breaker, True), call(breaker, True)] == [True, True]
    assert breaker.state == "closed", "failures before it closed do not count again"


def test_a_failed_try_opens_it_again_for_the_whole_time() -> None:
    breaker, clock, _ = make(1)
    call(breaker, True)
    clock.now += 5
    call(breaker, True)
    clock.now += 4.9
    assert not call(breaker, False)
    clock.now += 0.1
    assert call(breaker, False)
    assert breaker.state == "closed"


def test_a_try_that_reached_no_server_proves_nothing() -> None:
    breaker, clock, _ = make(1)
    call(breaker, True)
    clock.now += 5
    call(breaker, None)
    assert breaker.state == "open"


def test_one_call_alone_tries() -> None:
    breaker, clock, _ = make(1)
    call(breaker, True)
    clock.now += 5
    barrier, tickets = Barrier(16), list[int | None]()

    def run() -> None:
        barrier.wait()
        tickets.append(breaker.enter())

    threads = [Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(ticket is not None for ticket in tickets) == 1


def test_a_slow_call_from_before_says_nothing_about_now() -> None:
    breaker, clock, _ = make(1)
    early = breaker.enter()
    assert early is not None
    call(breaker, True)
    clock.now += 5
    breaker.leave(early, failed=False)
    assert breaker.state == "open"
    assert call(breaker, False)
    assert breaker.state == "closed"
    breaker.leave(early, failed=True)
    assert breaker.state == "closed"


def test_half_of_many_failing_opens_it() -> None:
    breaker, _, _ = make(100)
    for number in range(20):
        assert call(breaker, number % 2 == 1)
    assert breaker.state == "open"


@given(st.lists(st.sampled_from(["well", "failed", "sure", "unknown", "wait"]), max_size=60))
def test_it_lets_nothing_through_while_open(steps: list[str]) -> None:
    breaker, clock, _ = make(3)
    opened_at = None
    for step in steps:
        if step == "wait":
            clock.now += 1
            continue
        through = call(
            breaker, {"well": False, "unknown": None}.get(step, True), for_sure=step == "sure"
        )
        if opened_at is not None:
            assert through == (clock.now - opened_at >= 5)
        if through:
            opened_at = clock.now if breaker.state == "open" else None
