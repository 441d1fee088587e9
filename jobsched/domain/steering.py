"""Environment variables that change what a program does, whatever the program is."""

from __future__ import annotations

import re
from typing import Final

_STEERING: Final = re.compile(
    # The loader, the C library, the interpreter and its peers
    r"(LD|GCONV|MALLOC|GLIBC|PYTHON(?!UNBUFFERED\Z)|PERL|RUBY|NODE|NPM|JAVA|JDK|BASH|DYLD|NSS)_?\w*"
    # PostgreSQL's client, Django, Celery, and the clients of other services
    r"|(PG|DJANGO_|CELERY_|C_|AWS_|BOTO|AZURE_|GOOGLE_|CLOUDSDK_|GIT_|SSH_|KRB5|MYSQL_|REDIS_)\w*"
    # TLS, proxies and the names of hosts
    r"|(SSL|OPENSSL|CURL|REQUESTS|GRPC)_\w*|\w*_PROXY|HOSTALIASES|RES_OPTIONS|LOCALDOMAIN|RESOLV_\w*"
    # Where programs and their settings are found
    r"|PATH|HOME|SHELL|IFS|ENV|TMPDIR|TMP|TEMP|CDPATH|NETRC|XDG_\w*|LOCPATH|NLSPATH|TZDIR|TERMINFO\w*"
    r"|EDITOR|VISUAL|PAGER|BROWSER",
    re.ASCII | re.IGNORECASE,
)


def steers_programs(name: str) -> bool:
    """Tell whether a variable of this name may lead a program to other code, other servers or other settings.

    With `PGHOSTADDR`, for instance, Django's connection goes to another server, which is sent the password.
    """
    return _STEERING.fullmatch(name) is not None
