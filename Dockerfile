# One image for every jobsched process; docker-compose.yml gives each its command.
#
# Every test of this project runs on Python 3.11 and Debian 12, so that is what the image holds.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv /opt/jobsched && python -m venv /opt/build
# Dependencies first: they change less often than the code, and the layer is kept until they do.
COPY requirements.lock requirements-local.lock ./
RUN /opt/jobsched/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
# The build backend is pinned with the development tools; it is needed here and not in the image.
RUN sed -n '/^setuptools==/,/# via/p' requirements-local.lock > build.lock \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r build.lock
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY jobs jobs
COPY jobsched jobsched
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/jobsched/bin/pip install --no-cache-dir --no-deps dist/*.whl \
    && /opt/jobsched/bin/pip check

FROM ${PYTHON_IMAGE}
# A fixed number, so that files on a volume keep their owner when the image is built again. Runs have users without
# accounts, who may enter the folder of their own workspace in /var/lib/jobsched and list nothing.
RUN groupadd --gid 10001 jobsched \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin jobsched \
    && install -d -o jobsched -g jobsched -m 0711 /var/lib/jobsched
COPY --from=build /opt/jobsched /opt/jobsched
COPY deploy/entrypoint.py deploy/write_secrets.py deploy/answers.py /app/deploy/
COPY manage.py /app/
# /app is where an image built on this one puts its own modules (docs/deployment.md).
ENV PATH=/opt/jobsched/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=config.settings \
    JOBSCHED_DATA_DIR=/var/lib/jobsched
WORKDIR /app
USER jobsched
ENTRYPOINT ["python", "/app/deploy/entrypoint.py"]
