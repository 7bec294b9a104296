"""The sentence encoder: texts to unit vectors, by ONNX Runtime on the processor."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

Array = np.ndarray[Any, Any]
MAX_TOKENS: Final = 96
_MOST_KEPT: Final = 50_000


class SentenceEncoder:
    """Thread-safe. Texts that come again cost a look-up."""

    def __init__(
        self, folder: Path, *, threads: int = 1, vectors: Mapping[str, Array] | None = None
    ) -> None:
        """`folder` holds model.onnx and tokenizer.json; `vectors` are known already, by text.

        Raises OSError or RuntimeError if the files cannot be used.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            (folder / "model.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()
        self._given = vectors or {}
        self._kept: dict[str, Array] = {}
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str], *, keep: bool = False) -> Array:
        """Unit vectors as float32: texts x dimensions. `keep`: remember those of lasting texts.

        One text at a time is run, so that what stands beside it cannot change its vector.
        """
        found = [self._known(text) for text in texts]
        made = {
            text: self.work_out(text)
            for text in dict.fromkeys(t for t, v in zip(texts, found, strict=True) if v is None)
        }
        if keep:
            with self._lock:
                if len(self._kept) + len(made) > _MOST_KEPT:
                    self._kept.clear()
                self._kept.update(made)
        return np.stack(
            [
                made[text] if vector is None else vector
                for text, vector in zip(texts, found, strict=True)
            ]
        ).astype(np.float32)

    def _known(self, text: str) -> Array | None:
        vector = self._kept.get(text)
        return self._given.get(text) if vector is None else vector

    def work_out(self, text: str) -> Array:
        """Unit vector of a text, whatever is known already."""
        ids = self._tokenizer.encode(text).ids
        feed = {
            "input_ids": np.array([ids], dtype=np.int64),
            "attention_mask": np.ones((1, len(ids)), dtype=np.int64),
        }
        vector: Array = self._session.run(None, feed)[0][0]
        return vector
