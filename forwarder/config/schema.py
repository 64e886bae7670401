"""Every setting: its name, type, default, bounds and meaning. Nothing about a setting stands elsewhere.

The attribute names are the names in the YAML file. Sizes are bytes, durations seconds. The
descriptions appear in the reference file and in the JSON Schema.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from forwarder.config.containers import ListOf, MapOf, Maybe
from forwarder.config.files import FileMode, FilePath, GroupName, ListenAddress, SecretPath
from forwarder.config.groups import Group, TaggedUnion
from forwarder.config.http import CollectorUrl, HeaderName, HeaderValue, OutcomeWord, ProxyUrl, Status, Url
from forwarder.config.units import GIB, KIB, MIB
from forwarder.config.values import Duration, Flag, Number, OneOf, Size, Text, Whole
from forwarder.model import Address, Outcome

# A millisecond: anything shorter would be a busy loop by another name.
_MOMENT = 0.001
_FIELDS = ("eventSourceId", "eventType", "eventObjectType", "eventObjectId", "version", "eventKeyId")
_URL_EXAMPLE = Url().example
_KEY_EXAMPLE = "/etc/forwarder/key.pem"

_match_field = OneOf(
    choices=_FIELDS,
    refused={
        "eventId": "it differs for every event",
        "eventReceived": "only the destination sets it",
        "data": "only the text fields of the envelope can be matched",
    },
)
_default_field = OneOf(
    choices=_FIELDS,
    refused={
        "eventId": "each event needs one of its own, and the forwarder makes it",
        "eventReceived": "only the destination sets it",
        "data": "it is the content of an event, not a part of its envelope",
    },
)
_addresses = ListOf(ListenAddress())
_when_full = OneOf(choices=("reject", "drop_oldest"))
_socket_group = Maybe(GroupName())
_uids = ListOf(Whole(at_least=0, at_most=2**32 - 2, example="1000"))
_token_file = Maybe(SecretPath(example="/etc/forwarder/token"))


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """Intake over HTTP: POST /v1/events."""

    listen: Annotated[
        tuple[Address, ...],
        _addresses,
        "Addresses: unix:/absolute/path or tcp:HOST:PORT, IPv6 hosts in brackets; [] switches HTTP off.",
    ] = (Address(path="/run/forwarder/http.sock"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """Intake over a socket, one event a line."""

    listen: Annotated[tuple[Address, ...], _addresses, "Addresses as for HTTP; [] switches the stream off."] = (
        Address(path="/run/forwarder/stream.sock"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """The intake: how applications hand in events."""

    http: HttpConfig = HttpConfig()
    stream: StreamConfig = StreamConfig()
    socket_mode: Annotated[
        int, FileMode(), "Who may send: the file mode of these unix sockets, in octal and in quotes."
    ] = 0o660
    socket_group: Annotated[
        str | None,
        _socket_group,
        "Group of these unix sockets; the forwarder must be a member of it. null: its own.",
    ] = None
    token_file: Annotated[
        Path | None,
        _token_file,
        "File with the bearer token that clients must send; required for a tcp address that is not loopback.",
    ] = None
    allow_uids: Annotated[
        tuple[int, ...], _uids, "Numeric user ids that may use these unix sockets; empty: whoever may open the socket."
    ] = ()
    invalid: Annotated[
        str,
        OneOf(choices=("refuse", "dead_letter")),
        "What becomes of an event that breaks the rules: refuse it, or dead_letter: accept it, and keep it as a dead "
        "letter of the account `invalid`. Collectors that drop what is refused want dead_letter.",
    ] = "refuse"
    invalid_max_bytes: Annotated[
        int, Size(at_least=64 * KIB, example="64MiB"), "The most that those may take on disk; then they are refused."
    ] = 64 * MIB
    max_event_bytes: Annotated[
        int, Size(at_least=128, at_most=GIB, example="256KiB"), "The largest event that is accepted."
    ] = 256 * KIB
    max_request_bytes: Annotated[
        int, Size(at_least=128, at_most=GIB, example="16MiB"), "The largest request body, after decompression."
    ] = 16 * MIB
    defaults: Annotated[
        dict[str, str],
        MapOf(_default_field, Text()),
        "Envelope fields to fill in where an event lacks them, such as {eventSourceId: my-app}.",
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteConfig:
    """A queue in a file of SQLite."""

    backend: Annotated[Literal["sqlite"], OneOf(choices=("sqlite",)), "The kind of store."] = "sqlite"
    path: Annotated[
        Path,
        # The bounds of `queue.sqlite.folder`: other files have longer names beside it.
        FilePath(absolute=True, max_path=490, max_name=215, example="/var/lib/forwarder/queue.db"),
        "The file of the queue, on a local file system.",
    ] = Path("/var/lib/forwarder/queue.db")
    max_bytes: Annotated[int, Size(at_least=MIB), "The most that queued events and dead letters may take on disk."] = (
        4 * GIB
    )
    when_full: Annotated[
        str, _when_full, "reject: refuse new events; drop_oldest: drop the oldest queued events, and count them."
    ] = "reject"

    @property
    def files(self) -> tuple[str, ...]:
        """The paths that belong to the queue, as in `queue.sqlite.files`, and the rollback journal of other tools."""
        endings = ("", "-wal", "-shm", "-journal", "-page1", ".lock", ".reserve", ".rebuilding", ".rebuilt")
        return tuple(f"{self.path}{ending}" for ending in endings)


# A further backend is a dataclass with its own word for `backend`, with `max_bytes`, `when_full` and `files`, and its
# name in this line.
QueueConfig: TypeAlias = SqliteConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettersConfig:
    """What becomes of dead letters that nobody decides about."""

    max_age: Annotated[
        float | None,
        Maybe(Duration(at_least=_MOMENT, example="30d"), none="never"),
        "Dead letters that are older are dropped for good, and counted as dropped.",
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningConfig:
    """How batches are signed (JWS)."""

    key_file: Annotated[
        Path,
        SecretPath(example=_KEY_EXAMPLE),
        "RSA private key as PEM, of 2048 bits or more, readable by its owner only.",
    ]
    passphrase_file: Annotated[
        Path | None,
        Maybe(SecretPath(example="/etc/forwarder/passphrase")),
        "File with the passphrase of an encrypted key.",
    ] = None
    alg: Annotated[
        str,
        OneOf(choices=("auto", "RS256", "RS384", "RS512")),
        "Algorithm; auto takes RS256, RS384 or RS512 by the length of the key.",
    ] = "auto"
    kid: Annotated[str | None, Maybe(Text(example="2026-01")), "Header `kid` of the JWS; null leaves it out."] = None
    typ: Annotated[str | None, Maybe(Text(example="JOSE")), "Header `typ` of the JWS; null leaves it out."] = None
    cty: Annotated[str | None, Maybe(Text(example="json")), "Header `cty` of the JWS; null leaves it out."] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    """How many events travel together; the first limit that is reached sends the batch."""

    max_events: Annotated[int, Whole(at_least=1, at_most=1_000_000, example="1000"), "The most events in a batch."] = (
        1000
    )
    max_bytes: Annotated[
        int,
        Size(at_least=1, at_most=GIB, example="1MiB"),
        "The most bytes of JSON in a batch; a larger event travels alone.",
    ] = MIB
    max_age: Annotated[
        float, Duration(at_least=0, example="1s"), "How long an event waits for others; 0 sends at once."
    ] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """How a batch that was not taken is tried again: exponential back-off with full jitter."""

    initial: Annotated[float, Duration(at_least=_MOMENT, example="1s"), "The longest wait after the first failure."] = (
        1.0
    )
    max: Annotated[
        float, Duration(at_least=_MOMENT, example="5min"), "The longest wait of all; also caps Retry-After."
    ] = 300.0
    multiplier: Annotated[
        float, Number(at_least=1, at_most=100), "How much longer each wait may be than the one before."
    ] = 2.0
    give_up_after: Annotated[
        float | None,
        Maybe(Duration(at_least=_MOMENT, example="7d"), none="never"),
        "The age at which an undelivered event goes to the dead letters.",
    ] = None
    isolate: Annotated[
        bool,
        Flag(),
        "Try in parts what the destination fails at (5xx, no answer in time) three times in a row; a single event that "
        "fails 20 times while others are taken goes to the dead letters.",
    ] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RateConfig:
    """How fast a destination is sent to, at most, counting what is sent again."""

    events: Annotated[
        int | None, Maybe(Whole(at_least=1, at_most=1_000_000_000, example="5000")), "The most events a second."
    ] = None
    bytes: Annotated[
        int | None, Maybe(Size(at_least=1024, example="2MiB")), "The most bytes of requests, as signed, a second."
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareConfig:
    """A share of the queue of its own, so that a destination that is down cannot fill it for all."""

    max_bytes: Annotated[
        int | None, Maybe(Size(at_least=MIB, example="1GiB")), "The most bytes on disk; null: all of the queue."
    ] = None
    when_full: Annotated[
        str | None, Maybe(_when_full), "What happens when the share is full; null: as the queue says."
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """TLS towards the destination."""

    ca_file: Annotated[
        Path | None,
        Maybe(FilePath(example="/etc/forwarder/ca.pem")),
        "Certificates (PEM) to trust in place of the system's.",
    ] = None
    cert_file: Annotated[
        Path | None, Maybe(FilePath(example="/etc/forwarder/client.pem")), "Client certificate (PEM); needs `key_file`."
    ] = None
    key_file: Annotated[
        Path | None,
        Maybe(SecretPath(example="/etc/forwarder/client.key")),
        "Private key of the client certificate (PEM).",
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationConfig:
    """A place to which events are delivered."""

    url: Annotated[str, Url(), "The whole address that takes the events, path included."]
    match: Annotated[
        dict[str, tuple[str, ...]],
        MapOf(_match_field, ListOf(Text(example="app-*"), none="nothing would match")),
        "Which events come here, by glob patterns: every field must match one of its patterns, such as "
        "{eventSourceId: [app-*]}; empty: every event. An event goes to every destination that matches.",
    ] = field(default_factory=dict)
    signing: SigningConfig
    batch: BatchConfig = BatchConfig()
    retry: RetryConfig = RetryConfig()
    responses: Annotated[
        dict[int, Outcome],
        MapOf(Status(), OutcomeWord()),
        'What an answer means, where the usual meaning is wrong, such as {"403": deferred}; one of deferred (try '
        "again), held (wait for the operator), rejected (the event is bad), too_large, delivered.",
    ] = field(default_factory=dict)
    timeout: Annotated[
        float, Duration(at_least=_MOMENT), "The longest that one attempt may take, from connecting to the answer."
    ] = 30.0
    max_connection_age: Annotated[
        float,
        Duration(at_least=_MOMENT, example="5min"),
        "How long a connection is used; then a new one goes to the address that the name has now.",
    ] = 300.0
    max_rate: RateConfig = RateConfig()
    in_flight: Annotated[
        int, Whole(at_least=1, at_most=64), "Batches under way at the same time; only 1 keeps the order of events."
    ] = 1
    queue: ShareConfig = ShareConfig()
    single_as_object: Annotated[bool, Flag(), "Send a lone event as an object in place of an array of one."] = False
    headers: Annotated[
        dict[str, str],
        MapOf(HeaderName(), HeaderValue(), fold=str.lower),
        "Headers to add to each request, such as {X-Tenant: blue}; shown masked everywhere.",
    ] = field(default_factory=dict)
    tls: TlsConfig = TlsConfig()
    proxy: Annotated[
        str | None, Maybe(ProxyUrl()), "URL of an HTTP proxy, such as http://proxy.example:3128; null: none."
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminConfig:
    """The admin address: health, status, the dashboard, and what the command line talks to."""

    listen: Annotated[
        tuple[Address, ...],
        _addresses,
        "Addresses as for the intake; add tcp:127.0.0.1:7711 for the dashboard and for probes over TCP, which look, "
        "and do no more without a token.",
    ] = (Address(path="/run/forwarder/admin.sock"),)
    socket_mode: Annotated[
        int,
        FileMode(example='"0600"'),
        "Who may look and act: the file mode of these unix sockets, in octal and in quotes.",
    ] = 0o600
    socket_group: Annotated[
        str | None,
        _socket_group,
        "Group of these unix sockets, as for the intake; its members get in with socket_mode 0660.",
    ] = None
    allow_uids: Annotated[
        tuple[int, ...], _uids, "Numeric user ids that may use these unix sockets; empty: whoever may open the socket."
    ] = ()
    token_file: Annotated[
        Path | None,
        _token_file,
        "File with the operator's token, which clients send and people log in with; required for a tcp address that is "
        "not loopback, and to act over any other.",
    ] = None
    viewer_token_file: Annotated[
        Path | None,
        Maybe(SecretPath(example="/etc/forwarder/viewer-token")),
        "File with a token for viewers: they look, and neither act nor see the contents of events.",
    ] = None
    viewer_listen: Annotated[
        tuple[Address, ...],
        _addresses,
        "Addresses at which everybody is a viewer, such as unix:/run/forwarder/viewer.sock; where viewer_token_file is "
        "set, they need that token.",
    ] = ()
    viewer_socket_mode: Annotated[
        int, FileMode(), "Who may look: the file mode of the unix sockets of viewer_listen, in octal and in quotes."
    ] = 0o660
    viewer_socket_group: Annotated[
        str | None, _socket_group, "Group of the unix sockets of viewer_listen, as for the intake."
    ] = None
    read_only: Annotated[
        bool, Flag(), "Nobody acts, not even operators; they may still reload over the unix socket, to end this."
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """The log, on standard error."""

    level: Annotated[
        str, OneOf(choices=("debug", "info", "warning", "error")), "The least important lines that are written."
    ] = "info"
    format: Annotated[
        str, OneOf(choices=("auto", "console", "json")), "auto: console on a terminal, JSON elsewhere."
    ] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtelConfig:
    """OpenTelemetry: metrics and traces to a collector, over OTLP/HTTP. It needs the extra `otel`."""

    endpoint: Annotated[
        str | None,
        Maybe(CollectorUrl()),
        "URL of the collector, to which /v1/metrics and /v1/traces are added; null: nothing is sent.",
    ] = None
    headers: Annotated[
        dict[str, str],
        MapOf(HeaderName(), HeaderValue(), fold=str.lower),
        "Headers to add to each request to the collector; shown masked everywhere.",
    ] = field(default_factory=dict)
    ca_file: Annotated[
        Path | None,
        Maybe(FilePath(example="/etc/forwarder/ca.pem")),
        "Certificates (PEM) to trust in place of the system's.",
    ] = None
    interval: Annotated[float, Duration(at_least=1.0, example="1min"), "Between two sendings of the metrics."] = 60.0
    trace_ratio: Annotated[
        float,
        Number(at_least=0, at_most=1, example="0.01"),
        "The share of batches that are traced by themselves. A batch that continues a trace is sampled as "
        "that trace is.",
    ] = 1.0
    service_name: Annotated[str, Text(example="forwarder"), "The name by which the collector knows this service."] = (
        "forwarder"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration of the forwarder."""

    ingest: IngestConfig = IngestConfig()
    queue: Annotated[
        QueueConfig,
        TaggedUnion(QueueConfig, tag="backend", refused={"jetstream": "this build only knows the backend sqlite"}),
        "The queue: where accepted events wait on disk.",
    ] = SqliteConfig()
    dead_letters: DeadLettersConfig = DeadLettersConfig()
    destinations: Annotated[
        dict[str, DestinationConfig],
        MapOf(
            Text(
                pattern="^(?!invalid$)[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
                form="Use up to 64 letters, digits, hyphens and underscores, beginning with a letter or a digit; not "
                "`invalid`, the account of what breaks the rules (ingest.invalid).",
                example="main",
            ),
            Group(DestinationConfig),
            none="there is no destination, so nothing could be delivered",
            example=f"{{main: {{url: {_URL_EXAMPLE}, signing: {{key_file: {_KEY_EXAMPLE}}}}}}}",
        ),
        "The destinations, by names of your choice.",
    ]
    admin: AdminConfig = AdminConfig()
    log: LogConfig = LogConfig()
    reload: Annotated[
        str,
        OneOf(choices=("manual", "auto")),
        "When this file is read again: manual: at `forwarder reload` or SIGHUP, and a change that was not read is "
        "told; auto: a few seconds after it has changed. Keys, tokens and certificates are always "
        "read again when they are replaced.",
    ] = "manual"
    otel: OtelConfig = OtelConfig()
    shutdown_timeout: Annotated[
        float,
        Duration(at_least=0, example="20s"),
        "How long a stop waits for what is under way; the rest stays queued.",
    ] = 20.0

    @property
    def token_files(self) -> dict[str, Path | None]:
        """The files with tokens, by the settings that name them."""
        return {
            "ingest.token_file": self.ingest.token_file,
            "admin.token_file": self.admin.token_file,
            "admin.viewer_token_file": self.admin.viewer_token_file,
        }


CONFIG = Group(Config)
