"""An engine that dies in the middle of what it was asked for: a socket, and the first words."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VERSION = {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.24"}


@contextmanager
def dying(place: Path) -> Iterator[str]:
    """Its address. It tells its version, begins any other answer, and is gone."""
    path = place / "dying.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    thread = threading.Thread(target=_serve, args=(server,), daemon=True)
    thread.start()
    try:
        yield f"unix://{path}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


def _serve(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as asked:
            line = asked.readline()
            if not line:
                continue
            while asked.readline().strip():
                pass
            if b"/version" in line:
                body = json.dumps(_VERSION).encode()
                head = (
                    f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                connection.sendall(head.encode() + body)
            else:
                event = json.dumps({"stream": "Step 1/2 : FROM x\n"}).encode()
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                connection.sendall(head + f"{len(event) + 9:x}\r\n".encode() + event)
