"""What slot and shim say to each other: one JSON object a packet, descriptors beside it."""

from __future__ import annotations

import json
import socket
from typing import Any, Final

PACKET_BYTES: Final = 65536


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
        packet, descriptors, _flags, _address = socket.recv_fds(sock, PACKET_BYTES, 2, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None
    if not packet:
        return None
    message: dict[str, Any] = json.loads(packet)
    return message, descriptors
