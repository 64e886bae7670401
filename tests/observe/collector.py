"""A stand-in for an OpenTelemetry collector: it takes OTLP over HTTP, and keeps the spans and the metrics."""

from __future__ import annotations

from typing import Any, Self

from aiohttp import web
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from forwarder.model import Address


class Collector:
    """Use as `async with`; `url` is where it listens."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.metrics: dict[str, dict[str, Any]] = {}
        """The last state of each metric."""
        self.headers: list[dict[str, str]] = []
        self.resource: dict[str, Any] = {}
        app = web.Application()
        app.router.add_post("/v1/traces", self._traces)
        app.router.add_post("/v1/metrics", self._metrics)
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://{Address(host='127.0.0.1', port=self._runner.addresses[0][1])}".replace("tcp:", "")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _traces(self, request: web.Request) -> web.Response:
        found = MessageToDict(ExportTraceServiceRequest.FromString(await request.read()))
        self.headers.append(dict(request.headers))
        for resource in found["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                self.spans += scope["spans"]
        return web.Response()

    async def _metrics(self, request: web.Request) -> web.Response:
        found = MessageToDict(ExportMetricsServiceRequest.FromString(await request.read()))
        for resource in found["resourceMetrics"]:
            self.resource = {each["key"]: each["value"] for each in resource["resource"]["attributes"]}
            for scope in resource["scopeMetrics"]:
                self.metrics |= {metric["name"]: metric for metric in scope["metrics"]}
        return web.Response()
