"""A destination of its own over HTTP, for syncs that run in processes of their own."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Destination(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.members: dict[str, int] = {}
        self.writes: Counter[tuple[str, int]] = Counter()
        self.turn = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Destination

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.turn:
            for key, value in request["rows"]:
                if request["op"] == "remove":
                    self.server.members.pop(key, None)
                else:
                    self.server.members[key] = value
                    self.server.writes[key, value] += 1
        time.sleep(0.002)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None: ...
