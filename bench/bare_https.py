"""A file over TLS by the loop and the TLS settings of the node, without anything that makes it an archive.

``GET /N`` answers with the first N octets. Started by ``web.py``.
"""

import asyncio
import json
import os
import ssl
import sys
from typing import Any, Final

import uvloop

from leadglass.trust.certs.tls import CIPHERS_TLS12

_PIECE: Final = 256 * 1024


class Sender(asyncio.Protocol):
    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._left = self._at = 0
        self._paused = False
        self._transport: Any = None
        self._request = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=2 * _PIECE, low=_PIECE)

    def data_received(self, data: bytes) -> None:
        self._request += data
        if not self._request.endswith(b"\r\n\r\n"):
            return
        self._left, self._at = int(self._request.split()[1][1:]), 0
        self._request = b""
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self._left)
        self._send()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send()

    def _send(self) -> None:
        while self._left and not self._paused:
            piece = os.pread(self._fd, min(_PIECE, self._left), self._at)
            if not piece:  # from its beginning again
                self._at = 0
                continue
            self._at += len(piece)
            self._left -= len(piece)
            self._transport.write(piece)


async def serve(job: dict[str, Any]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS_TLS12)
    context.load_cert_chain(job["certificate"], job["key"])
    fd = os.open(job["file"], os.O_RDONLY)
    server = await asyncio.get_running_loop().create_server(
        lambda: Sender(fd), "127.0.0.1", job["port"], ssl=context
    )
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(json.loads(sys.argv[1])))
