"""How the tests are shared out among workers."""

from tests.support.sharing import LONGEST, TESTS, TOGETHER, group_of


def test_what_is_named_exists() -> None:
    assert [name for name in (*LONGEST, *TOGETHER) if not (TESTS / name).exists()] == []


def test_a_file_stays_together_and_so_do_the_browser_tests() -> None:
    assert group_of(TESTS / "engine" / "test_fuzz.py") == "engine/test_fuzz.py"
    assert group_of(TESTS / "browser" / "test_api_keys.py") == "browser"
