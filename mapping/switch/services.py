"""Verbs on the mapping mode: choose one, turn the kill switch on and off."""

from django.conf import settings
from django.db import connection, transaction

from audit.services import record
from mapping.mode import MODES, Mode, look_again
from mapping.switch.models import ChoiceKind, ModeChoice
from tenants.context import public_context

_ACTIONS = {
    ChoiceKind.CHOSEN: "mapping_mode.chosen",
    ChoiceKind.KILL_ON: "kill_switch.on",
    ChoiceKind.KILL_OFF: "kill_switch.off",
}


class ModeError(ValueError):
    """A choice that cannot be made. Its text says what to do."""


class NothingToDoError(ModeError):
    """What is asked for is so already."""


@transaction.atomic
def change_mode(*, mode: Mode | None, reason: str, actor: str) -> ModeChoice:
    """Choose a mode for the whole platform; None: as `mapping.mode` of pillars.yaml says.

    Raises ModeError for an unknown mode, while the kill switch is on, or if it is so already.
    """
    if mode is not None and mode not in MODES:
        raise ModeError(f"There is no mode {mode!r}. Choose {', '.join(MODES)}.")
    with public_context():
        last = _locked()
        if last is not None and last.kind == ChoiceKind.KILL_ON:
            raise ModeError("The kill switch is on. Turn it off first, then choose a mode.")
        if mode == (last.mode if last is not None else None):
            chosen = mode or f"{settings.CONFIG.mapping.mode}, of pillars.yaml,"
            raise NothingToDoError(f"{chosen} is in force already. There is nothing to do.")
        return _choose(last, ChoiceKind.CHOSEN, mode, reason, actor)


@transaction.atomic
def turn_kill_switch_on(*, reason: str, actor: str) -> ModeChoice:
    """Map by rules alone until the switch is turned off. Raises NothingToDoError if it is on."""
    with public_context():
        last = _locked()
        if last is not None and last.kind == ChoiceKind.KILL_ON:
            raise NothingToDoError(
                f"The kill switch is on already, since {last.made_at:%Y-%m-%d %H:%M:%S} UTC "
                f"by {last.made_by}."
            )
        return _choose(last, ChoiceKind.KILL_ON, "rules_only", reason, actor)


@transaction.atomic
def turn_kill_switch_off(*, reason: str, actor: str) -> ModeChoice:
    """Go back to what was in force before the switch was turned on: a mode, or pillars.yaml.

    Raises NothingToDoError if it is not on.
    """
    with public_context():
        last = _locked()
        if last is None or last.kind != ChoiceKind.KILL_ON:
            raise NothingToDoError("The kill switch is not on. There is nothing to do.")
        before = None if last.followed else _mode(last.previous)
        return _choose(last, ChoiceKind.KILL_OFF, before, reason, actor)


def last_choice() -> ModeChoice | None:
    """The choice in force; None if nobody has chosen."""
    with public_context():
        return ModeChoice.objects.order_by("-number").first()


def _locked() -> ModeChoice | None:
    """The choice in force, held until the transaction ends: one at a time, reading goes on."""
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {ModeChoice._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")
    return last_choice()


def _choose(
    last: ModeChoice | None, kind: ChoiceKind, mode: Mode | None, reason: str, actor: str
) -> ModeChoice:
    of_file = settings.CONFIG.mapping.mode
    chosen = last.mode if last is not None else None
    choice = ModeChoice.objects.create(
        number=last.number + 1 if last is not None else 1,
        kind=kind,
        mode=mode,
        effective=mode or of_file,
        previous=chosen or of_file,
        followed=chosen is None,
        reason=reason.strip()[:300],
        made_by=actor[:200],
    )
    record(
        action=_ACTIONS[kind],
        actor=actor,
        target=choice.effective,
        detail={"number": choice.number, "from": choice.previous, "by_file": mode is None},
    )
    transaction.on_commit(look_again)
    return choice


def _mode(name: str) -> Mode:
    return next(mode for mode in MODES if mode == name)
