"""A server that takes the same time for every answer: `python -m tests.bench.steady`.

It answers as vLLM does, and thinks nothing. A real server's times move with how requests fall into
its batches, by more than a client costs; here they stand still, so that tests.bench.vllm shows the
client alone.
"""

import argparse
import asyncio
import json
from typing import Any

from tests.inference.servers import ADAPTER, MODEL
from tests.inference.test_protocols import TestVllm


async def converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    """One connection, until it is closed."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:])}
            content = await reader.readexactly(int(headers.get("content-length", 0)))
            body: Any = json.loads(content) if content else None
            if body and "logprob_token_ids" in body:
                await asyncio.sleep(seconds)
            status, content_type, data = TestVllm.serve(method, path, body)
            assert isinstance(data, bytes)
            writer.write(
                f"HTTP/1.1 {status} OK\r\nContent-Type: {content_type}\r\n"
                f"Content-Length: {len(data)}\r\n\r\n".encode()
                + data
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client is done
    finally:
        writer.close()


async def start(port: int, seconds: float) -> asyncio.Server:
    """Listening; `port` 0: any that is free."""

    async def each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await converse(reader, writer, seconds)

    return await asyncio.start_server(each, "127.0.0.1", port, backlog=512)


def main() -> None:
    """Serve until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--milliseconds", type=float, default=25.0, help="that an answer takes")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()

    async def serve() -> None:
        server = await start(options.port, options.milliseconds / 1000)
        print(f"model {MODEL}, adapter {ADAPTER}, port {options.port}", flush=True)
        await server.serve_forever()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
