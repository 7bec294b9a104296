"""Where the static files of the admin and of the API documentation are collected."""

from typing import Any

from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Named by content and compressed once, with gzip alone.

    Brotli saves another tenth and takes half a minute of two cores at the first start.
    """

    def create_compressor(self, **options: Any) -> Compressor:
        """A compressor without Brotli."""
        return Compressor(**options, use_brotli=False)
