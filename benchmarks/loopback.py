"""An HTTP server on 127.0.0.1 that takes whatever it is sent, for one benchmark.

    python benchmarks/loopback.py

prints its port and ends with its standard input. Every request is answered ``200 {}``;
``GET /`` is answered with the requests and the rows (``"email":`` in bodies) that have
arrived since it was last asked.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


class Counts:
    """What all connections have received."""

    requests = 0
    rows = 0


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests come whole or in pieces."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self.missing -= len(data)
        if self.missing > 0:
            return
        received = b"".join(self.pieces)
        self.pieces = [received]
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = received[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        self.missing = end + 4 + length - len(received)
        if self.missing > 0:
            return
        self.pieces, self.missing = [], 0
        answer = b"{}"
        if head.startswith(b"get "):
            answer = json.dumps({"requests": Counts.requests, "rows": Counts.rows}).encode()
            Counts.requests = Counts.rows = 0
        else:
            Counts.requests += 1
            Counts.rows += received.count(b'"email":', end)
        assert isinstance(self.transport, asyncio.WriteTransport)
        self.transport.write(ANSWER % (len(answer), answer))


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
