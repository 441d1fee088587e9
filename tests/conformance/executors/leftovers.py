"""Python callables that return before all of their work is done, or leave it to an exit hook."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import sys
import tempfile
import threading
import time
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from logging.handlers import MemoryHandler
from multiprocessing import shared_memory
from pathlib import Path

WORK_SECONDS = 0.4
_kept: list[object] = []


def work(file: str) -> None:
    time.sleep(WORK_SECONDS)
    Path(file).write_text("done")


def start_thread(file: str) -> str:
    threading.Thread(target=work, args=[file]).start()
    return "returned"


def start_thread_from_thread(file: str) -> None:
    threading.Thread(target=start_thread, args=[file]).start()


def start_thread_until_main_ends(file: str) -> None:
    def watch() -> None:
        while threading.main_thread().is_alive():
            time.sleep(0.02)
        Path(file).write_text("done")

    threading.Thread(target=watch).start()


def start_thread_and_fail(file: str) -> None:
    start_thread(file)
    raise ValueError("the disk is full")


def start_thread_and_exit(file: str) -> None:
    start_thread(file)
    sys.exit(3)


def start_thread_pool(file: str) -> None:
    _kept.append(pool := ThreadPoolExecutor(2))
    pool.submit(work, file)


def start_process_pool(file: str) -> None:
    _kept.append(pool := ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")))
    pool.submit(work, file)


def start_process(file: str) -> None:
    multiprocessing.get_context("fork").Process(target=work, args=[file]).start()


def spawn_process(file: str) -> None:
    multiprocessing.get_context("spawn").Process(target=work, args=[file]).start()


def register_hook(file: str) -> None:
    atexit.register(work, file)


def register_hook_and_fail(file: str) -> None:
    atexit.register(work, file)
    raise ValueError("the disk is full")


def register_hook_of_threading(file: str) -> None:
    threading._register_atexit(work, file)  # type: ignore[attr-defined]


def register_finalizer(file: str) -> None:
    _kept.append(kept := logging.Filter())
    weakref.finalize(kept, work, file)


def register_finalizer_of_multiprocessing(file: str) -> None:
    from multiprocessing.util import Finalize

    Finalize(None, work, args=(file,), exitpriority=1)


def log_into_memory(file: str) -> None:
    logger = logging.getLogger("leftovers")
    logger.addHandler(MemoryHandler(100, target=logging.FileHandler(file)))
    logger.warning("done")


def make_temporary_folder() -> str:
    _kept.append(folder := tempfile.TemporaryDirectory())
    return folder.name


def start_endless_thread(file: str) -> None:
    atexit.register(work, file)
    threading.Thread(target=threading.Event().wait, name="endless").start()


def start_endless_daemon(file: str) -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    Path(file).write_text("done")


def wait_with_thread(file: str) -> None:
    start_endless_thread(file)
    time.sleep(60)


def share_memory() -> None:
    _kept.append(shared_memory.SharedMemory(create=True, size=16))
