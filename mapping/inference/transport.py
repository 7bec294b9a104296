"""JSON over HTTP to one server, within a deadline. What a server says is never quoted."""

import time
from typing import Any, Final

import httpx2 as httpx
import orjson

from mapping.inference.failures import refused, rubbish, too_late, unreachable

_MOST_BYTES: Final = 1_048_576  # of an answer; one letter with its log-probabilities takes 10 kB
_KEEP_SECONDS: Final = 30.0
_MOST_SAID: Final = 500  # characters of an error that are shown
# A connection that was kept may have died with the server's restart: ask once more on a new one.
_BROKEN = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, httpx.CloseError)


class Transport:
    """Connections to one server, kept between calls. Thread-safe."""

    def __init__(self, url: str, *, api_key: str, connections: int, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._client = httpx.Client(
            base_url=url,
            headers=headers,
            limits=httpx.Limits(
                max_connections=connections,
                max_keepalive_connections=connections,
                keepalive_expiry=_KEEP_SECONDS,
            ),
            follow_redirects=False,
            trust_env=False,  # a proxy of the environment must not see prompts
        )

    def get(self, path: str, *, deadline: float) -> Any:
        """The JSON that stands there. Raises InferenceError."""
        return self._ask("GET", path, None, deadline)

    def post(self, path: str, body: dict[str, Any], *, deadline: float) -> Any:
        """The JSON of the answer. Raises InferenceError."""
        return self._ask("POST", path, orjson.dumps(body), deadline)

    def tell(self, path: str, body: dict[str, Any], *, deadline: float) -> tuple[int, str]:
        """(status, what the server says of it), for an order rather than a question.

        No prompt has a part in it, so that the server's own words may be shown: its error, or else
        nothing. Asked once: an order must not be given twice. Raises InferenceError.
        """
        left = deadline - time.monotonic()
        if left <= 0:
            raise too_late(self._timeout_seconds)
        try:
            response = self._client.post(path, content=orjson.dumps(body), timeout=left)
        except httpx.TimeoutException:
            raise too_late(self._timeout_seconds) from None
        except httpx.HTTPError:
            raise unreachable() from None
        return response.status_code, _error_in(response.content)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _ask(self, method: str, path: str, content: bytes | None, deadline: float) -> Any:
        try:
            try:
                data = self._exchange(method, path, content, deadline)
            except _BROKEN:
                data = self._exchange(method, path, content, deadline)
        except httpx.TimeoutException:
            raise too_late(self._timeout_seconds) from None
        except (httpx.DecodingError, httpx.RemoteProtocolError):
            raise rubbish() from None
        except httpx.HTTPError:
            raise unreachable() from None
        try:
            return orjson.loads(data)
        except ValueError:
            raise rubbish() from None

    def _exchange(self, method: str, path: str, content: bytes | None, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise too_late(self._timeout_seconds)
        data = bytearray()
        # Our own worker does not begin what nobody will wait for; other servers ignore it.
        budget = {"X-Budget-Ms": str(int(left * 1000))}
        with self._client.stream(
            method, path, content=content, headers=budget, timeout=left
        ) as response:
            if response.status_code != httpx.codes.OK:
                raise refused(response.status_code)
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > _MOST_BYTES:
                    raise rubbish()
                if time.monotonic() > deadline:
                    raise too_late(self._timeout_seconds)
        return bytes(data)


def _error_in(content: bytes) -> str:
    """The message of an error as OpenAI's servers write it, in one line of printable characters."""
    try:
        document = orjson.loads(content)
    except ValueError:
        return ""
    found = document.get("error", document) if isinstance(document, dict) else None
    said = found.get("message") if isinstance(found, dict) else None
    text = said if isinstance(said, str) else ""
    return "".join(one if one.isprintable() else " " for one in text[:_MOST_SAID])
