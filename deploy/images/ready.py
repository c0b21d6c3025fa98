"""Health check of a container: `python -IS ready.py PORT` ends with 0 when /readyz there answers 200, else says why and ends with 1.

It runs every few seconds in every container, so it imports the least there is: 15 ms instead of 90.
"""

import socket
import sys

SECONDS = 3.0


def answer(port: int) -> bytes:
    """The first bytes of the answer. Raises OSError."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as link:
        link.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while chunk := link.recv(4096):
            received += chunk
        return received


def main() -> int:
    """Exit code; a person finds the reason in `docker inspect`."""
    try:
        received = answer(int(sys.argv[1]))
    except OSError as error:
        print(error)  # noqa: T201 the check's answer
        return 1
    status, _, rest = received.partition(b"\r\n")
    if status.split(b" ")[1:2] == [b"200"]:
        return 0
    print(rest.partition(b"\r\n\r\n")[2].decode(errors="replace") or status.decode(errors="replace"))  # noqa: T201 the check's answer
    return 1


if __name__ == "__main__":
    sys.exit(main())
