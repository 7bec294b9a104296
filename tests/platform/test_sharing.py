"""How the tests are shared out among workers."""

from tests.support.sharing import ALONE_IN, LONGEST, TESTS, group_of


def test_what_is_named_exists() -> None:
    assert [name for name in (*LONGEST, *ALONE_IN) if not (TESTS / name).exists()] == []


def test_the_makefile_looks_for_tests_that_run_alone_where_they_may_be() -> None:
    words = (TESTS.parent / "Makefile").read_text("utf-8")
    assert f"pytest -m alone {' '.join(f'tests/{folder}' for folder in ALONE_IN)}\n" in words


def test_browser_tests_follow_one_another() -> None:
    assert group_of(TESTS / "engine" / "test_fuzz.py") == "engine/test_fuzz.py"
    assert group_of(TESTS / "browser" / "test_api_keys.py") == "browser"
