"""The models that are served: the base model or adapters on it, each merged and under its name.

Every adapter is a model of its own in memory: so its numbers are bit for bit those that it gives
alone, and one that is being loaded or taken away changes nothing for the others.
"""

import contextlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from mapping.worker.adapters import fitting_adapter
from mapping.worker.model import LetterModel, Precision
from mapping.worker.weights import Adapter, Base, WeightsError, check_memory

log = logging.getLogger(__name__)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NOTE: Final = ".served.json"  # which adapters a worker that is started anew takes up again
_NICENESS: Final = 10
Model = TypeVar("Model")


class UnknownModelError(Exception):
    """No model of that name is served."""


class ShelfError(Exception):
    """An adapter that is not loaded or taken away. The message says why."""


class Shelf:
    """Thread-safe. Models are loaded by one thread at a time, while the others are asked on."""

    def __init__(
        self,
        base: Base,
        first: Adapter | None,
        *,
        precision: Precision = "auto",
        folder: Path | None = None,
        check: Callable[[Base], None] = check_memory,
    ) -> None:
        """`folder`: where adapters may be loaded from later; None: from nowhere."""
        self._base = base
        self._precision = precision
        self._folder = folder.resolve() if folder is not None else None
        self._check = check
        self._changing = threading.Lock()
        self._idle = threading.Condition()
        self._asked: dict[str, int] = {}  # requests in flight, by model
        model = LetterModel(base, first, precision)
        self._models = {model.name: model}

    def models(self) -> list[LetterModel]:
        """Those that are served now, in the order in which they were loaded."""
        return list(self._models.values())

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[LetterModel]:
        """The model of that name, which stays while the block runs. Raises UnknownModelError."""
        with self._idle:
            model = self._models.get(name)
            if model is None:
                raise UnknownModelError
            self._asked[name] = self._asked.get(name, 0) + 1
        try:
            yield model
        finally:
            with self._idle:
                self._asked[name] -= 1
                self._idle.notify_all()

    def load(self, name: str, path: str) -> None:
        """Load an adapter from the folder. Raises ShelfError; what is served stays as it is."""
        folder = self._inside(path)
        if not _NAME.fullmatch(name):
            raise ShelfError("lora_name: letters, digits, dots, dashes and underscores alone.")
        with self._changing:
            if name in self._models or name == self._base.name:
                raise ShelfError(f"The LoRA adapter {name!r} has already been loaded.")
            try:
                adapter = replace(fitting_adapter(folder, self._base), name=name)
                self._check(self._base)
                model = _modestly(lambda: LetterModel(self._base, adapter, self._precision))
            except WeightsError as error:
                raise ShelfError(str(error)) from None
            except MemoryError:
                raise ShelfError("There is not enough memory for another model.") from None
            except Exception as error:  # noqa: BLE001 - torch and PEFT have classes of their own
                log.error("An adapter failed to load: %s", type(error).__name__)
                raise ShelfError(f"It cannot be merged ({type(error).__name__}).") from None
            self._models = {**self._models, name: model}
            self._note()
        log.info("%s is served too (%s).", name, adapter.sha256[:12])

    def unload(self, name: str) -> None:
        """Take an adapter away once nobody asks it any more. Raises UnknownModelError."""
        with self._changing:
            with self._idle:
                model = self._models.get(name)
                if model is None or model.adapter is None:
                    raise UnknownModelError
                # Not offered to anybody new; those who have it are waited for.
                self._models = {k: one for k, one in self._models.items() if k != name}
                self._idle.wait_for(lambda: not self._asked.get(name))
            self._note()
        log.info("%s is served no more.", name)

    def take_up(self) -> None:
        """Load again what was served when the worker ended; what cannot be is told and left."""
        for name, place in self._noted().items():
            if name not in self._models and self._folder is not None:
                try:
                    self.load(name, str(self._folder / place))
                except ShelfError as error:
                    log.warning("%s is not served again: %s", name, error)

    def _inside(self, path: str) -> Path:
        if self._folder is None:
            raise ShelfError("This worker loads no adapters: start it with --adapters FOLDER.")
        folder = self._folder if "\0" in path else (self._folder / path).resolve()
        if self._folder not in folder.parents:
            raise ShelfError("lora_path: it must be inside the folder of adapters.")
        if not folder.is_dir():
            raise ShelfError("lora_path: there is no such folder.")
        return folder

    def _note(self) -> None:
        if self._folder is None:
            return
        places = {
            name: str(model.adapter.folder.relative_to(self._folder))
            for name, model in self._models.items()
            if model.adapter is not None and self._folder in model.adapter.folder.parents
        }
        new = self._folder / f"{_NOTE}.new"
        with contextlib.suppress(OSError):  # then somebody else loads them after a restart
            new.write_text(json.dumps(places), encoding="utf-8")
            new.replace(self._folder / _NOTE)

    def _noted(self) -> dict[str, str]:
        if self._folder is None:
            return {}
        try:
            found = json.loads((self._folder / _NOTE).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _modestly(action: Callable[[], Model]) -> Model:
    """Run it in a thread of its own, which gives way to those that answer."""

    def run() -> Model:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        return action()

    with ThreadPoolExecutor(1, "loader") as pool:
        return pool.submit(run).result()
