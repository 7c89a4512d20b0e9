"""A server that sends the bytes of a test, whatever is requested."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LINGER_S = 2.0


@contextmanager
def serve(*parts: bytes, pause_s: float = 0.0) -> Iterator[tuple[str, list[bytes]]]:
    """A server that sends these parts with pauses, then closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []
    end = threading.Event()

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                received.append(connection.recv(65536))
                try:
                    for part in parts:
                        connection.sendall(part)
                        if end.wait(pause_s):
                            return
                    # Closing with unread bytes of the request would reset the connection, and the client could lose
                    # what was sent to it.
                    connection.shutdown(socket.SHUT_WR)
                    connection.settimeout(_LINGER_S)
                    while connection.recv(65536):
                        pass
                except OSError:
                    continue

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", received
    finally:
        end.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
