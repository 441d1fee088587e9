"""From where a request comes."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from django.http import HttpRequest

from jobs.conf import conf

_ONE_SUBSCRIBER: Final = 64
"""In bits. Providers assign a whole IPv6 network of this length to each customer."""


def client_address(request: HttpRequest) -> str:
    """Return the address of a request's client: an IPv4 address, or the /64 network of an IPv6 address.

    It is that of the connection. Behind JOBSCHED["PROXIES"] proxies it is what the outermost of them appended to
    X-Forwarded-For; what stands before it was sent by the client, who may write anything there.
    """
    direct = request.META.get("REMOTE_ADDR", "")
    proxies = conf().proxies
    named = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    if proxies and len(named) >= proxies and (found := _network(named[-proxies])):
        return found
    return _network(direct) or direct


def _network(text: str) -> str:
    """Return the network that counts as one client, or nothing where `text` is no address; a port is left out."""
    with_port = re.fullmatch(r"\[(.+)\](?::\d+)?|([0-9.]+):\d+", text)
    bare = next(filter(None, with_port.groups())) if with_port else text
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _ONE_SUBSCRIBER), strict=False))
