"""Uploads of browsers: read in memory alone. What people upload may be raw output of a detector."""

from io import BytesIO
from typing import Any

from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler

MAX_BYTES = 2_000_000


class InMemoryOnly(FileUploadHandler):
    """Never writes to a disk. Of a file over MAX_BYTES only the size is kept: forms refuse it."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """A file begins."""
        super().new_file(*args, **kwargs)
        self._content = BytesIO()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """A part of it."""
        if start + len(raw_data) <= MAX_BYTES:
            self._content.write(raw_data)
        else:
            self._content = BytesIO()

    def file_complete(self, file_size: int) -> InMemoryUploadedFile:
        """It has ended."""
        self._content.seek(0)
        return InMemoryUploadedFile(
            file=self._content, field_name=self.field_name, name=str(self.file_name),
            content_type=self.content_type, size=file_size, charset=self.charset,
            content_type_extra=self.content_type_extra,
        )  # fmt: skip
