"""The modules whose functions jobs may call without registration."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Final

FORBIDDEN: Final = frozenset({"jobs", "jobsched", "config", "django", "celery", "kombu", "billiard"})
"""Packages that run the installation: no setting allows them."""
_PACKAGE_FOLDERS: Final = frozenset({"site-packages", "dist-packages"})
_INSTALLED: Final = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib"))


@dataclass(frozen=True, kw_only=True)
class AllowedModules:
    """The modules named here, and every module inside those that are packages."""

    names: tuple[str, ...] = ()
    except_for: frozenset[str] = frozenset()
    """Modules that are not allowed although a package above them is: those that hold the project's settings."""

    def allows(self, module: str) -> bool:
        """Tell whether jobs may call functions that are defined in `module`.

        Imports the packages above `module` as far as they are allowed themselves, and nothing else; what these raise
        while they are imported is raised here.
        """
        if is_forbidden(module) or any(is_within(module, name) for name in self.except_for):
            return False
        return any(is_within(module, name) and not _leaves_the_project(name, module) for name in self.names)

    def in_words(self) -> str:
        """Return a phrase for messages: what a `call` may name."""
        if not self.names:
            return "a registered callable"
        shown = ", ".join(self.names[:10])
        more = f" and {len(self.names) - 10} more" if len(self.names) > 10 else ""
        return f"a registered callable or a function that is defined in {shown}{more}"


def is_forbidden(module: str) -> bool:
    """Tell whether a module belongs to the standard library or to the packages that run the installation."""
    top, _, _ = module.partition(".")
    return top in FORBIDDEN or top in sys.stdlib_module_names


def is_within(module: str, package: str) -> bool:
    """Tell whether a module is `package`, or lies inside it."""
    return module == package or module.startswith(f"{package}.")


def is_installed(module: str) -> bool:
    """Tell whether a module lies among the installed packages (site-packages). One that does not exist does not."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):  # it does not exist, or was made by hand
        return False
    places = _places(spec) if spec else []
    return bool(places) and all(_is_among_packages(place) for place in places)


def _places(spec: ModuleSpec) -> list[Path]:
    """Return the module's file, or the folders of a namespace package, which has no file."""
    if spec.has_location and spec.origin:
        return [Path(spec.origin)]
    return [Path(folder) for folder in spec.submodule_search_locations or ()]


def _is_among_packages(place: Path) -> bool:
    return any(
        _PACKAGE_FOLDERS & set(path.parts) or any(folder in path.parents for folder in _INSTALLED)
        for path in (place, place.resolve())
    )


def _leaves_the_project(allowed: str, module: str) -> bool:
    """Tell whether a module inside an allowed package of the project lies among the installed packages.

    The folders of a namespace package, and those that a package adds to its `__path__`, may lie anywhere.
    """
    return not is_installed(allowed) and any(is_installed(name) for name in _below(allowed, module))


def _below(package: str, module: str) -> Iterator[str]:
    """Yield the names of the modules from below `package` down to `module`, in this order."""
    end = len(package)
    while end < len(module):
        end = module.find(".", end + 1)
        end = len(module) if end < 0 else end
        yield module[:end]
