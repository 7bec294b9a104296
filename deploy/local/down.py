"""`down`: stops the whole stack and makes sure that no process of it is left."""

from contextlib import suppress
from pathlib import Path

from deploy.local import control
from deploy.local.errors import StackError
from deploy.local.parts import stack_marker
from deploy.local.processes import end_processes, find_processes, wait_until
from deploy.local.state import StateDir, is_locked, read_json

# Web, worker and Postgres may each use up their own time before they are killed.
_STOP_SECONDS = 75.0
_ANSWER_SECONDS = 5.0
_POLL_SECONDS = 0.1


def stop_stack(state: StateDir) -> bool:
    """Stop the supervisor with all its parts, then end what else is left. False if nothing ran."""
    ran = is_locked(state.supervisor_lock)

    def ended() -> bool:
        if not is_locked(state.supervisor_lock):
            return True
        # Asked again and again: it may be just starting, and not listen yet, or just ending.
        with suppress(StackError):
            control.ask(state, "shutdown", seconds=_ANSWER_SECONDS)
        return False

    wait_until(ended, _STOP_SECONDS, pause=_POLL_SECONDS)
    left = end_strays(state)
    return ran or left > 0


def end_strays(state: StateDir) -> int:
    """End processes of this stack that no supervisor holds. How many there were.

    There are some only after the supervisor was killed and its parts did not follow at once.
    """
    identity = read_json(state.setup_file).get("stack")
    if not identity:
        return 0
    marker = stack_marker(state)
    note = state.path / "postgres" / "home"
    data_dir = Path(note.read_text().strip()) / "data" if note.exists() else None
    count = end_processes(lambda: find_processes(marker, data_dir))
    if left := find_processes(marker, data_dir):
        numbers = " ".join(map(str, left))
        raise StackError(f"These processes do not end, even killed: {numbers}.")
    return count
