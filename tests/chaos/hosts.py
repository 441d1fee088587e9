"""Hosts in network namespaces: a cable between each of them and the servers, and faults of that cable. Takes root.

The servers keep listening on the loopback interface of this machine. A namespace, the *hub*, plays their host: proxies
listen there and pass on. All links and all packet filters are inside the namespaces, which end with this process.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.chaos.proxies import Proxy

_PROGRAMS: Final = ("ip", "iptables", "nsenter")
_CLONE_NEWNET: Final = 0x40000000
_HUB_ADDRESS: Final = "10.77.0.1"
_LOST: Final = "0.2"
"""The share of packets that is lost each way on a bad line."""

Command = tuple[str, ...]


def missing() -> str:
    """Return why no hosts can be made here, in words; nothing when they can."""
    if os.geteuid() != 0:
        return "network namespaces can only be made by root"
    absent = [program for program in _PROGRAMS if shutil.which(program) is None]
    return f"{', '.join(absent)} is not installed" if absent else ""


class Host:
    """A host with an address of its own; `before` are the words that start a command on it."""

    def __init__(self, name: str, hub: str, link: str, address: str) -> None:
        self.before = ("nsenter", f"--net=/run/netns/{name}", "--")
        self._name, self._hub, self._link, self._address = name, hub, link, address

    @contextmanager
    def fault(self, kind: str) -> Iterator[None]:
        """Break the way to the servers for as long as the context lasts; FAULTS has the kinds."""
        begin, end = self._orders(kind)
        for command in begin:
            _run(*command)
        try:
            yield
        finally:
            for command in end:
                _run(*command)

    def _orders(self, kind: str) -> tuple[list[Command], list[Command]]:
        match kind:
            case "link down":
                switch = ("ip", "-n", self._hub, "link", "set", self._link)
                return [(*switch, "down")], [(*switch, "up")]
            case "one way":  # what the worker sends arrives; it hears nothing
                return self._filters([(self._name, "INPUT", ("-i", "eth0", "-j", "DROP"))])
            case "dropped":
                to, back = ("-s", self._address, "-j", "DROP"), ("-d", self._address, "-j", "DROP")
                return self._filters([(self._hub, "INPUT", to), (self._hub, "OUTPUT", back)])
            case "refused":
                reset = ("-s", self._address, "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
                return self._filters([(self._hub, "INPUT", reset)])
            case "loss":
                lost = ("-m", "statistic", "--mode", "random", "--probability", _LOST, "-j", "DROP")
                return self._filters([(self._name, "INPUT", lost), (self._name, "OUTPUT", lost)])
            case _:
                raise ValueError(f"there is no fault {kind!r}")

    @staticmethod
    def _filters(rules: list[tuple[str, str, Command]]) -> tuple[list[Command], list[Command]]:
        """Return the commands that add packet filters, each in a namespace, and those that take them away."""
        table = [
            (("nsenter", f"--net=/run/netns/{name}", "--", "iptables", "-w"), chain, rule)
            for name, chain, rule in rules
        ]
        return (
            [(*program, "-I", chain, *rule) for program, chain, rule in table],
            [(*program, "-D", chain, *rule) for program, chain, rule in table],
        )


FAULTS: Final = ("link down", "one way", "dropped", "refused", "loss")


class Hub:
    """The servers' end of all cables."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        self._name, self._stack = name, stack
        self._hosts = 0

    def proxy(self, url: str) -> Proxy:
        """Make the server of `url` reachable from all hosts."""
        return self._stack.enter_context(Proxy(url, address=_HUB_ADDRESS, inside=_inside(self._name)))

    def host(self) -> Host:
        """Connect one more host."""
        self._hosts += 1
        number, name, link = self._hosts, f"{self._name}-{self._hosts}", f"host{self._hosts}"
        address = f"10.77.0.{number + 1}"
        self._stack.enter_context(_namespace(name))
        _run("ip", "-n", self._name, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "-n", self._name, "link", "set", link, "master", "bridge", "up")
        _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        _run("ip", "-n", name, "link", "set", "eth0", "up")
        return Host(name, self._name, link, address)


@contextmanager
def hub() -> Iterator[Hub]:
    """Make the hub; it and its hosts are taken away at the end."""
    name = f"chaos{os.getpid()}"
    with ExitStack() as stack:
        stack.enter_context(_namespace(name))
        _run("ip", "-n", name, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", name, "address", "add", f"{_HUB_ADDRESS}/24", "dev", "bridge")
        _run("ip", "-n", name, "link", "set", "bridge", "up")
        yield Hub(name, stack)


@contextmanager
def _namespace(name: str) -> Iterator[None]:
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "-n", name, "link", "set", "lo", "up")
        yield
    finally:
        with suppress(subprocess.CalledProcessError):
            _run("ip", "netns", "delete", name)


@contextmanager
def _inside(name: str) -> Iterator[None]:
    """Let this thread make sockets in a network namespace. Those stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as ours, Path("/run/netns", name).open() as theirs:
        _enter(libc, theirs.fileno())
        try:
            yield
        finally:
            _enter(libc, ours.fileno())


def _enter(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
