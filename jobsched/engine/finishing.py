"""The end of a run of Python code, as at the end of any Python program: threads are waited for, exit hooks are called.

The process of a run is forked from its worker and inherits what the worker and its libraries have registered. That
belongs to the worker. `forget_inherited` is called before the code of the run, `finish` after it.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import weakref
from contextlib import suppress
from types import ModuleType
from typing import Any, Final

_PACKAGES_OF_PROCESSES: Final = ("multiprocessing", "billiard")
"""The standard library's and that of Celery. At exit, both wait for the processes that the program has started."""
_POOLS: Final = {
    "concurrent.futures.thread": "_threads_queues",
    "concurrent.futures.process": "_threads_wakeups",
}
"""Modules whose pools end by a hook of `threading`, each with the name of its register of pools."""


def forget_inherited() -> None:
    """Drop the exit hooks of the worker. What the run itself registers from now on is called by `finish`.

    A library registers its hook once, when it is imported, and keeps a register of what the hook has to do. For the
    libraries below that register is emptied and the hook kept, so that they serve the run as they serve any program.
    """
    atexit._clear()
    # Hooks are called in the opposite order: what a program prints or logs at its very end is still written.
    _forget_log_handlers()
    _forget_finalizers()
    for package in _PACKAGES_OF_PROCESSES:
        _forget_processes(package)
    _forget_pools()


def finish(*, asked_to_end: bool) -> None:
    """Wait for the threads that are no daemons, then call the exit hooks, in the order in which Python does both.

    Work that was asked to end is not waited for; its hooks have what is left of the grace. Whatever the handler of
    SIGTERM raises ends the wait and is raised here, after the hooks were called.
    """
    try:
        if not asked_to_end:
            threading._shutdown()  # type: ignore[attr-defined]  # what Python itself calls at its end
    finally:
        _name_threads_left()
        atexit._run_exitfuncs()
        _stop_helpers_of_multiprocessing()


def _forget_log_handlers() -> None:
    logging._handlerList.clear()  # type: ignore[attr-defined]
    atexit.register(logging.shutdown)


def _forget_finalizers() -> None:
    finalize: Any = weakref.finalize
    for inherited in list(finalize._registry):
        inherited.atexit = False
    if finalize._registered_with_atexit:
        atexit.register(finalize._exitfunc)


def _forget_processes(package: str) -> None:
    util: Any = sys.modules.get(f"{package}.util")
    process: Any = sys.modules.get(f"{package}.process")
    if util is None or process is None:
        return
    util._finalizer_registry.clear()
    process._children.clear()
    atexit.register(util._exit_function)
    _forget_helpers(package)


def _forget_helpers(package: str) -> None:
    """Have the run start helper processes of its own: the worker's are none of its children."""
    if tracker := _helper(f"{package}.resource_tracker", "_resource_tracker"):
        tracker._fd = tracker._pid = None
    if forkserver := _helper(f"{package}.forkserver", "_forkserver"):
        forkserver._forkserver_address = forkserver._forkserver_alive_fd = forkserver._forkserver_pid = None


def _stop_helpers_of_multiprocessing() -> None:
    """End the helper processes of the run, which would end a moment after it, and wait until they have cleared up."""
    for module, name in (
        ("multiprocessing.forkserver", "_forkserver"),
        ("multiprocessing.resource_tracker", "_resource_tracker"),
    ):
        if helper := _helper(module, name):
            with suppress(OSError):
                helper._stop()


def _helper(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)


def _forget_pools() -> None:
    hooks = []
    for name, pools in _POOLS.items():
        if (module := sys.modules.get(name)) is not None:
            getattr(module, pools).clear()
            hooks += [hook for hook in _hooks_of_threading() if _made_by(hook, module)]
    _hooks_of_threading()[:] = hooks


def _hooks_of_threading() -> list[Any]:
    hooks: list[Any] = threading._threading_atexits  # type: ignore[attr-defined]
    return hooks


def _made_by(hook: Any, module: ModuleType) -> bool:
    """Tell whether a hook, kept as a `functools.partial`, is a function of a module."""
    return getattr(getattr(hook, "func", hook), "__module__", "") == module.__name__


def _name_threads_left() -> None:
    """Say in the output which threads the end of the process is about to cut off, if any."""
    this = threading.current_thread()
    left = [thread.name for thread in threading.enumerate() if thread is not this and not thread.daemon]
    if left:
        sys.stderr.write(f"jobsched: threads that were still working when the run had to end: {', '.join(left)}\n")
