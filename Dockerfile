# The event forwarder as a container, to run beside an application.
#
#   docker build -t event-forwarder .
#
# BASE may be any image with Python 3.11 or later and its venv module. VERSION and REVISION are labels of the image,
# empty unless they are given; the program in it always says its own version.
ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS dependencies
WORKDIR /src
# The dependencies: an environment without pip, of the tested versions, in a layer that changes with
# these two files alone.
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/forwarder
COPY pyproject.toml config/constraints.txt ./
RUN python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
      > requirements.txt \
 && /build/bin/pip --python /opt/forwarder/bin/python3 install --no-cache-dir -c constraints.txt -r requirements.txt

FROM dependencies AS builder
COPY README.md ./
COPY forwarder forwarder
RUN /build/bin/pip --python /opt/forwarder/bin/python3 install --no-cache-dir --no-deps --prefix /program .

FROM ${BASE}
# The user has a fixed number, so that volumes can be prepared for it (Kubernetes: runAsUser, fsGroup).
# pip, which python:*-slim brings, is of no use to a finished program, and goes.
RUN groupadd --gid 10001 forwarder \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/forwarder --no-create-home --shell /usr/sbin/nologin forwarder \
 && install -d -m 0755 /etc/forwarder /usr/share/forwarder \
 && install -d -m 0700 -o 10001 -g 10001 /var/lib/forwarder \
 && install -d -m 0755 -o 10001 -g 10001 /run/forwarder \
 && install -d -m 0700 -o 10001 -g 10001 /run/forwarder-admin \
 && rm -rf "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"/pip* /usr/local/bin/pip* \
      "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"/ensurepip
COPY --from=dependencies /opt/forwarder /opt/forwarder
COPY --from=builder /program /opt/forwarder
# An example. Without /etc/forwarder/forwarder.yaml, the environment is the configuration.
COPY config/sidecar.yaml /usr/share/forwarder/sidecar.yaml
ENV PATH=/opt/forwarder/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/forwarder
# The queue, the sockets for events, the admin socket. The application mounts the second one, but not the third,
# through which the daemon takes its orders.
VOLUME ["/var/lib/forwarder", "/run/forwarder", "/run/forwarder-admin"]
# Healthy means that the daemon answers. Exit code 1, as while the queue is full, is an answer: a restart would not
# empty the queue.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s \
  CMD ["sh", "-c", "forwarder status >/dev/null; test $? -le 1"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["forwarder"]
CMD ["run"]
# These come last because they change with every build.
ARG VERSION=
ARG REVISION=
ARG BASE
LABEL org.opencontainers.image.title="event-forwarder" \
      org.opencontainers.image.description="Accepts events on local sockets, queues them durably and delivers them, signed, to the 10Duke Event API." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
