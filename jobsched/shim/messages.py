"""Messages between slot and shim: one JSON object a packet, descriptors beside it."""

from __future__ import annotations

import array
import json
import socket
from typing import Any, Final

PACKET_BYTES: Final = 65536
_ROOM: Final = socket.CMSG_SPACE(3 * array.array("i").itemsize)


def send(sock: socket.socket, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Send one packet. Raises OSError when the other side is gone."""
    packet = json.dumps(message).encode()
    if descriptors:
        socket.send_fds(sock, [packet], descriptors)
    else:
        sock.send(packet)


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Receive one packet, or None when the other side is gone. Raises BlockingIOError when there is none."""
    try:
        # Not socket.recv_fds: before Python 3.12 it drops the flag, and every program run would inherit both.
        packet, beside, _flags, _address = sock.recvmsg(PACKET_BYTES, _ROOM, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None
    if not packet:
        return None
    descriptors = array.array("i")
    for _level, _kind, data in beside:
        descriptors.frombytes(data)
    message: dict[str, Any] = json.loads(packet)
    return message, descriptors.tolist()
