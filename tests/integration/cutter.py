"""An insert that ClickHouse took and whose answer never came."""

import socket
import threading
from urllib.parse import urlsplit

from deploy.local.ports import HOST


class Cutter:
    """A TCP proxy before ClickHouse that lets an insert through and hangs up when the answer comes, `cut_inserts` times."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._target = (target.hostname or HOST, target.port or 0)
        self._listener = socket.create_server((HOST, 0))
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        self.cut_inserts = 0
        self.cut = 0
        self._lock = threading.Lock()

    def __enter__(self) -> "Cutter":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(self._target)
        inserting = threading.Event()

        def forward() -> None:
            try:
                while data := client.recv(65_536):
                    if b"query=INSERT" in data:
                        inserting.set()
                    server.sendall(data)
                server.shutdown(socket.SHUT_WR)
            except OSError:
                return

        threading.Thread(target=forward, daemon=True).start()
        with client, server:
            try:
                while data := server.recv(65_536):
                    with self._lock:
                        if inserting.is_set() and self.cut_inserts > 0:
                            assert b"200 OK" in data
                            self.cut_inserts -= 1
                            self.cut += 1
                            client.shutdown(socket.SHUT_RDWR)
                            return
                    client.sendall(data)
            except OSError:
                return
