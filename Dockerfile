# The event forwarder as a container, to run beside an application.
#
#   docker build -t event-forwarder .
#
# BASE may be any image with Python 3.11 or later, its venv module, and pip.
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS builder
WORKDIR /src
COPY pyproject.toml README.md ./
COPY forwarder forwarder
# The wheels are made in one environment and installed into another, which has no pip.
RUN python3 -m venv /build \
 && /build/bin/pip wheel --no-cache-dir --wheel-dir /wheels . \
 && python3 -m venv --without-pip /opt/forwarder \
 && /build/bin/pip --python /opt/forwarder/bin/python3 install --no-cache-dir --no-index --find-links /wheels \
      event-forwarder \
 && /opt/forwarder/bin/forwarder version

FROM ${BASE}
LABEL org.opencontainers.image.title="event-forwarder" \
      org.opencontainers.image.description="Accepts events on local sockets, queues them durably and delivers them, signed, to the 10Duke Event API."
# A fixed number, so that volumes can be prepared for it (Kubernetes: runAsUser, fsGroup).
RUN groupadd --gid 10001 forwarder \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/forwarder --no-create-home --shell /usr/sbin/nologin forwarder \
 && install -d -m 0755 /etc/forwarder /usr/share/forwarder \
 && install -d -m 0700 -o 10001 -g 10001 /var/lib/forwarder \
 && install -d -m 0755 -o 10001 -g 10001 /run/forwarder
COPY --from=builder /opt/forwarder /opt/forwarder
# An example. Without /etc/forwarder/forwarder.yaml, the environment is the configuration.
COPY config/sidecar.yaml /usr/share/forwarder/sidecar.yaml
ENV PATH=/opt/forwarder/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/forwarder
VOLUME ["/var/lib/forwarder", "/run/forwarder"]
# Alive is who answers at the admin address, also (1) while the queue is full: a restart would not empty it.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s \
  CMD ["sh", "-c", "forwarder status >/dev/null; test $? -le 1"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["forwarder"]
CMD ["run"]
