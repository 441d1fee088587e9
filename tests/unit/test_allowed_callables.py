"""What a `call` may name: registered callables, and functions that are defined in allowed modules."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from jobsched import callables
from jobsched.allowed_modules import AllowedModules, is_installed
from jobsched.domain.errors import InvalidInput

SHOP = """
    import functools
    import os
    import subprocess
    from contextlib import contextmanager
    from functools import partial, wraps
    from os import getenv
    from subprocess import getoutput as output

    import library
    from library import decorated_by_library, foreign, logged_by_library, run_anything
    from shop import other
    from shop.other import helper

    def build(day="today"):
        return f"built {day}"

    def logged(function):
        @wraps(function)
        def wrapper(**params):
            return function(**params)
        return wrapper

    @logged
    def own_decorator():
        return "own"

    @decorated_by_library
    def library_decorator():
        return "library"

    @logged
    @decorated_by_library
    def both_decorators():
        return "both"

    class Report:
        def __init__(self):
            self.api = os

        @staticmethod
        def weekly():
            return "weekly"

        @classmethod
        def daily(cls):
            return f"{cls.__name__} daily"

        class Inner:
            @staticmethod
            def deep():
                return "deep"

        def __call__(self):
            return "called"

        def send(self):
            return "sent"

    class Runner(subprocess.Popen):
        pass

    class Mine(library.Base):
        pass

    class Callable:
        __call__ = staticmethod(os.getenv)

    report = Report()
    send = report.send
    environ_get = os.environ.get
    weekly_build = partial(build, day="monday")
    short = lambda: "short"
    foreign_lambda = library.make_lambda()
    foreign_closure = library.make_closure()
    run = partial(subprocess.run, shell=True)
    named_run = functools.update_wrapper(partial(subprocess.run, shell=True), build)
    cached_getenv = functools.lru_cache(os.getenv)
    wrapped_getenv = logged(os.getenv)
    mapped_getenv = decorated_by_library(os.getenv)
    run_anything_here = run_anything
    system = os.system
    evaluate = eval
    builder = __builtins__
    NUMBER = 5

    @wraps(os.getenv)
    def dressed(name):
        return os.getenv(name)
"""

LIBRARY = """
    import functools, os

    def decorated_by_library(function):
        @functools.wraps(function)
        def wrapper(*args, **params):
            return function(*args, **params)
        return wrapper

    logged_by_library = decorated_by_library

    def foreign(name):
        return os.getenv(name)

    def run_anything(command):
        return os.popen(command).read()

    # What a careless project could do: say that they are its own.
    def relabelled(name):
        return os.getenv(name)

    relabelled.__module__ = "shop.jobs"

    def disguised(name):
        return os.getenv(name)

    def make_lambda():
        return lambda name: os.getenv(name)

    def make_closure():
        def closure(name):
            return os.getenv(name)
        return closure

    class Base:
        @classmethod
        def environment(cls, name):
            return os.getenv(name)
"""

FILES = {
    "shop/__init__.py": "def __getattr__(name):\n    import shop_secret\n    return shop_secret.tell\n",
    "shop/jobs.py": SHOP,
    "shop/other.py": "def helper():\n    return 'helped'\n",
    "shop/lies.py": """
        import functools, sys
        import library
        from library import relabelled

        def own():
            return "own"

        functools.wraps(own)(library.disguised)
        disguised = library.disguised
        sys.modules["shop.os"] = __import__("os")
        """,
    "shop/broken.py": "raise RuntimeError('half written')\n",
    "shop/settings.py": "import os\ndef read(name):\n    return os.environ[name]\n",
    "shop_secret.py": "import pathlib\npathlib.Path(__file__).with_name('imported').touch()\ndef tell(): pass\n",
    "library.py": LIBRARY,
    "packages/site-packages/installed/__init__.py": "def f():\n    return 1\n",
    "packages/site-packages/parted/there.py": "def f():\n    return 1\n",
    "parted/here.py": "def f():\n    return 'here'\n",
    "extended/__init__.py": """
        import pathlib
        __path__.append(str(pathlib.Path(__file__).parent.parent / "packages" / "site-packages" / "extension"))
        """,
    "extended/own.py": "def f():\n    return 'own'\n",
    "packages/site-packages/extension/added.py": "def f():\n    return 1\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project on the path: `shop`, `extended` and the namespace package `parted` are allowed."""
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path / "packages" / "site-packages"))
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    monkeypatch.setattr(callables, "_policy", callables._Policy())
    monkeypatch.setattr(callables, "_resolved", {})
    allow("shop", "extended", "parted", except_for={"shop.settings"})
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def allow(*names: str, except_for: set[str] | None = None) -> None:
    callables.allow(lambda: AllowedModules(names=names, except_for=frozenset(except_for or ())))


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("shop.jobs:build", "built today"),
        ("shop.jobs:weekly_build", "built monday"),
        ("shop.jobs:short", "short"),
        ("shop.jobs:own_decorator", "own"),
        ("shop.jobs:library_decorator", "library"),
        ("shop.jobs:both_decorators", "both"),
        ("shop.jobs:Report.weekly", "weekly"),
        ("shop.jobs:Report.daily", "Report daily"),
        ("shop.jobs:Report.Inner.deep", "deep"),
        ("shop.jobs:send", "sent"),
        ("shop.jobs:helper", "helped"),
        ("shop.other:helper", "helped"),
        ("parted.here:f", "here"),
        ("extended.own:f", "own"),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_function_that_is_defined_in_an_allowed_module_is_found(call: str, result: str) -> None:
    assert callables.resolve(call)() == result


@pytest.mark.parametrize(
    "call",
    [
        "os:getenv",
        "os:environ.get",
        "os.path:exists",
        "posix:system",
        "builtins:eval",
        "subprocess:getoutput",
        "importlib:import_module",
        "library:foreign",
        "shop_secret:tell",
        "shopping:build",
        "installed:f",
        "jobs.services.control:trigger",
        "jobsched.loading:load",
        "config.settings:env.str",
        "django.conf:settings.configure",
        "celery:current_app.send_task",
        "shop.settings:read",
    ],
)
def test_a_module_that_is_not_allowed_is_refused_and_not_imported(project: Path, call: str) -> None:
    before = set(sys.modules)
    with pytest.raises(InvalidInput, match="is not allowed"):
        callables.resolve(call)
    assert not {name for name in set(sys.modules) - before if name.partition(".")[0] != "shop"}
    assert not (project / "imported").exists()


@pytest.mark.parametrize(
    "name",
    [
        "getenv",
        "output",
        "system",
        "evaluate",
        "environ_get",
        "foreign",
        "run_anything_here",
        "decorated_by_library",
        "contextmanager",
        "partial",
        "run",
        "named_run",
        "cached_getenv",
        "wrapped_getenv",
        "mapped_getenv",
        "dressed",
        "foreign_lambda",
        "foreign_closure",
        "Report",
        "Runner",
        "report",
        "Mine.environment",
        "Runner.communicate",
        "Report.mro",
        "Callable.__call__",
        "Report.__subclasses__",
        "build.__call__",
        "build.__globals__.get",
        "os.getenv",
        "os.environ.get",
        "subprocess.getoutput",
        "library.foreign",
        "other.os",
        "report.api.getenv",
        "report.send",
        "NUMBER",
        "__loader__.load_module",
        "__builtins__.get",
        "builder",
    ],
)
@pytest.mark.usefixtures("project")
def test_what_is_not_defined_in_an_allowed_module_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not allowed|leads through|has no|cannot be called"):
        callables.resolve(f"shop.jobs:{name}")


@pytest.mark.parametrize("call", ["shop.lies:relabelled", "shop.lies:disguised"])
@pytest.mark.usefixtures("project")
def test_a_module_that_is_only_claimed_does_not_count(call: str) -> None:
    with pytest.raises(InvalidInput, match="is not a function that is defined in"):
        callables.resolve(call)


@pytest.mark.usefixtures("project")
def test_a_module_under_a_false_name_is_refused() -> None:
    assert callables.resolve("shop.lies:own")() == "own"
    with pytest.raises(InvalidInput, match="is not a function that is defined in"):
        callables.resolve("shop.os:getenv")


def test_the_getattr_of_a_module_is_not_called(project: Path) -> None:
    with pytest.raises(InvalidInput, match="'shop' has no 'anything'"):
        callables.resolve("shop:anything")
    assert not (project / "imported").exists()


@pytest.mark.parametrize("call", ["parted.there:f", "extended.added:f"])
def test_an_installed_module_inside_an_allowed_package_is_refused_and_not_imported(project: Path, call: str) -> None:
    with pytest.raises(InvalidInput, match="is not allowed"):
        callables.resolve(call)
    assert call.partition(":")[0] not in sys.modules


@pytest.mark.usefixtures("project")
def test_an_installed_module_is_allowed_by_its_own_name() -> None:
    assert is_installed("installed") and not is_installed("shop")
    allow("installed", "parted.there")
    assert callables.resolve("installed:f")() == callables.resolve("parted.there:f")() == 1


@pytest.mark.usefixtures("project")
def test_a_registered_callable_may_be_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_registered", "_by_function"):
        monkeypatch.setattr(callables, name, dict(getattr(callables, name)))
    import library  # type: ignore[import-not-found]  # of the fixture

    callables.callable_job("read")(library.foreign)
    assert callables.resolve("read").function is library.foreign
    assert callables.resolve("shop.jobs:foreign").name == "read"
    with pytest.raises(InvalidInput, match="is not allowed"):
        callables.resolve("library:foreign")


@pytest.mark.usefixtures("project")
def test_a_refusal_says_in_one_sentence_what_is_allowed_and_how_to_allow_more() -> None:
    with pytest.raises(InvalidInput) as refused:
        callables.resolve("os:getenv")
    assert str(refused.value) == (
        "'os:getenv' is not allowed: no job may call functions of the standard library, Django, Celery or jobsched; "
        "name a registered callable or a function that is defined in shop, extended, parted, "
        "or allow more with @callable_job or JOBSCHED_CALLABLE_MODULES"
    )
    with pytest.raises(InvalidInput, match="the module 'library' is none whose functions jobs may call"):
        callables.resolve("library:foreign")


@pytest.mark.usefixtures("project")
def test_what_an_allowed_module_raises_while_it_is_imported_is_raised() -> None:
    with pytest.raises(RuntimeError, match="half written"):
        callables.resolve("shop.broken:f")


def test_nothing_is_allowed_until_modules_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callables, "_policy", callables._Policy())
    monkeypatch.setattr(callables, "_resolved", {})
    with pytest.raises(InvalidInput, match="name a registered callable, or allow more"):
        callables.resolve("tests.sample_callables:add")
