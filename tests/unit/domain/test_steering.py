"""Variables that change what a program does."""

from __future__ import annotations

import pytest

from jobsched.domain.errors import InvalidInput
from jobsched.domain.steering import steers_programs
from jobsched.environment import for_trusted_code


@pytest.mark.parametrize(
    "name",
    [
        *(
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "PYTHONPATH",
            "PYTHONUNBUFFERED_X",
            "PYTHONSTARTUP",
            "BASH_ENV",
            "PERL5LIB",
            "NODE_OPTIONS",
        ),
        *("PGHOSTADDR", "PGPASSFILE", "PGSERVICEFILE", "PGSSLMODE", "PGOPTIONS", "DJANGO_SETTINGS_MODULE"),
        *("CELERY_BROKER_URL", "AWS_ENDPOINT_URL", "BOTO_CONFIG", "GIT_SSH_COMMAND", "KRB5_CONFIG"),
        *("SSL_CERT_FILE", "OPENSSL_CONF", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "HOSTALIASES", "RES_OPTIONS", "LOCALDOMAIN"),
        *("PATH", "HOME", "NETRC", "XDG_CONFIG_HOME", "TMPDIR", "SHELL", "PAGER"),
    ],
)
def test_a_variable_that_leads_programs_elsewhere_is_refused_to_trusted_code(name: str) -> None:
    assert steers_programs(name)
    with pytest.raises(InvalidInput, match=rf"cannot set '{name}', .*; give the callable or task a parameter"):
        for_trusted_code({name: "x"}, {})


@pytest.mark.parametrize(
    "name",
    ["MARKET", "REPORT_DAY", "PAGE", "LOG_LEVEL", "HOMEPAGE", "PATHS", "TZ", "LANG", "A", "PYTHONUNBUFFERED"],
)
def test_any_other_variable_is_given_to_trusted_code(name: str) -> None:
    assert not steers_programs(name)
    assert for_trusted_code({name: "x"}, {"OTHER": "y"}) == {"PYTHONUNBUFFERED": "1", name: "x"}


def test_a_variable_of_the_worker_is_not_replaced_except_for_language_and_time_zone() -> None:
    worker = {"SHOP_API": "https://api.example", "TZ": "UTC", "LC_ALL": "C"}
    assert for_trusted_code({"TZ": "Asia/Tokyo", "LC_ALL": "de_DE", "SHOP_API": "https://api.example"}, worker)
    with pytest.raises(InvalidInput, match="would replace 'SHOP_API'"):
        for_trusted_code({"SHOP_API": "https://elsewhere.example"}, worker)
