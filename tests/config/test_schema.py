"""Every setting: its default, and what is said when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from forwarder.config import Config, DestinationConfig, IngestConfig, SigningConfig
from forwarder.model import Address, Outcome
from tests.config.conftest import DESTINATION, Load, Refuse

# A queue's path with a name that is too long for what stands beside it, and one that is too long for SQLite.
LONG_NAME = f"queue: {{path: /{'n' * 216}}}"
LONG_PATH = f"queue: {{path: {('/' + 'd' * 100) * 4}/{'n' * 87}}}"

# A snippet of YAML, the path that the problem names, and words of the problem and of the remedy.
Case = tuple[str, str, str, str]

TOP: list[Case] = [
    # unknown and missing settings
    (
        "quueue: {}",
        "quueue",
        "is not a setting",
        "Did you mean `queue`? Known here: ingest, queue, dead_letters, destinations, admin",
    ),
    ("queue: {max_byte: 1GiB}", "queue.max_byte", "is not a setting", "Did you mean `max_bytes`? Known here: backend"),
    ("queue: {zebra: 1}", "queue.zebra", "is not a setting", "Known here: backend, path, max_bytes, when_full."),
    ("ingest: {https: {listen: []}}", "ingest.https", "is not a setting", "Did you mean `http`?"),
    ("? [a, b]\n: c", "", "a list or a group of settings stands where a name is wanted", "Write `name: …`"),
    # wrong shapes
    (
        "queue: 5",
        "queue",
        "what stands here is a number in YAML, but a group of settings is wanted",
        "Write `name: value` lines",
    ),
    ("queue: [path]", "queue", "is a list, but a group of settings is wanted", "indented"),
    ("ingest: {http: tcp:127.0.0.1:1}", "ingest.http", "is text, but a group of settings is wanted", "`name: value`"),
    ("log: {level: [info]}", "log.level", "is a list, but one of a few words is wanted", "debug, info, warning, error"),
    ("queue: {path: {a: b}}", "queue.path", "is a group of settings, but the path of a file", "/var/lib/forwarder"),
    # addresses
    ("ingest: {http: {listen: 7710}}", "ingest.http.listen", "`7710` is a number in YAML", "unix:/run/forwarder"),
    ("ingest: {http: {listen: }}", "ingest.http.listen", "is empty, but a list is wanted", "or [] for none"),
    ("ingest: {http: {listen: {a: b}}}", "ingest.http.listen", "is a group of settings, but a list", "Write it like ["),
    (
        "ingest: {stream: {listen: [7710]}}",
        "ingest.stream.listen[0]",
        "but an address is wanted",
        "Write it like unix:",
    ),
    ('ingest: {http: {listen: ["unix:a"]}}', "ingest.http.listen[0]", "`a` is a relative path", "absolute path"),
    ('admin: {listen: ["tcp:[::1]:1", "tcp:x"]}', "admin.listen[1]", "is not tcp:HOST:PORT", "tcp:127.0.0.1:7710"),
    ("admin: {listen: ['unix:${NO}/a']}", "admin.listen[0]", "variable NO is not set", "Set NO for this process"),
    # file modes
    ("ingest: {socket_mode: 660}", "ingest.socket_mode", "`660` without quotes is a decimal number", '"0660"'),
    ("ingest: {socket_mode: 432}", "ingest.socket_mode", "`432` without quotes is a decimal number", '"0660"'),
    ('ingest: {socket_mode: "0888"}', "ingest.socket_mode", "`0888` is not a file mode", "four octal digits in quotes"),
    ("ingest: {socket_mode: 0x1b0}", "ingest.socket_mode", "`0x1b0` is not a file mode", '"0660"'),
    ('ingest: {socket_mode: "07660"}', "ingest.socket_mode", "is not a file mode", '"0660"'),
    ('ingest: {socket_mode: "0440"}', "ingest.socket_mode", "nobody could connect", "Allow somebody to write"),
    ("ingest: {socket_mode: rw}", "ingest.socket_mode", "`rw` is not a file mode", '"0660"'),
    ("ingest: {socket_mode: true}", "ingest.socket_mode", "`true` is yes or no", '"0660"'),
    # paths
    ("ingest: {token_file: ~/token}", "ingest.token_file", "begins with ~", "${HOME}"),
    ('ingest: {token_file: "${TOKENS}/t"}', "ingest.token_file", "variable TOKENS is not set", "without ${TOKENS}"),
    ('ingest: {token_file: ""}', "ingest.token_file", "is empty", "Write the path of a file"),
    (
        "ingest: {token_file: 5}",
        "ingest.token_file",
        "but the path of a file is wanted",
        "Write it like /etc/forwarder",
    ),
    (r'queue: {path: "/x\ud800"}', "queue.path", r"`/x\ud800` contains a character that no path", "the path of a file"),
    (r'queue: {path: "/x\0"}', "queue.path", "contains a control character", "the path of a file"),
    (
        r'admin: {listen: ["unix:/x\ud800"]}',
        "admin.listen[0]",
        "contains a character that no path",
        "the path of a file",
    ),
    (LONG_NAME, "queue.path", "the name of the file has 216 bytes, and 215 are possible", "a shorter one"),
    (LONG_PATH, "queue.path", "the path has 492 bytes, and 490 are possible", "a shorter one"),
    ("queue: {max_bytes: 010000000}", "queue.max_bytes", "`010000000` is not a size", "such as 4GiB"),
    ("shutdown_timeout: 08s", "shutdown_timeout", "`08s` is not a duration", "such as 30s"),
    ("admin: {listen: ['tcp:127.0.0.1:07711']}", "admin.listen[0]", "is not tcp:HOST:PORT", "tcp:HOST:PORT"),
    ("queue: {path: queue.db}", "queue.path", "`queue.db` is a relative path", "one that begins with /"),
    ('queue: {path: ":memory:"}', "queue.path", "is a relative path", "Write an absolute path"),
    # user ids
    ("ingest: {allow_uids: [-1]}", "ingest.allow_uids[0]", "`-1` is too little", "at least 0"),
    ("ingest: {allow_uids: [root]}", "ingest.allow_uids[0]", "`root` is text, but a whole number", "such as 1000"),
    ("ingest: {allow_uids: [4294967295]}", "ingest.allow_uids[0]", "is too much", "at most 4294967294"),
    ("ingest: {allow_uids: [1.5]}", "ingest.allow_uids[0]", "but a whole number is wanted", "digits without quotes"),
    # sizes
    (
        "ingest: {max_event_bytes: 256K}",
        "ingest.max_event_bytes",
        "`256K` is not a size",
        "KiB, MiB, GiB, kB, MB or GB",
    ),
    ("ingest: {max_event_bytes: true}", "ingest.max_event_bytes", "`true` is yes or no in YAML", "such as 256KiB"),
    ("ingest: {max_event_bytes: 0}", "ingest.max_event_bytes", "`0` is too little", "at least 128"),
    ("ingest: {max_event_bytes: -5}", "ingest.max_event_bytes", "`-5` is not a size", "a number of bytes"),
    ("ingest: {max_request_bytes: .inf}", "ingest.max_request_bytes", "`.inf` is not a size", "a number of bytes"),
    ("ingest: {max_request_bytes: 2GiB}", "ingest.max_request_bytes", "`2GiB` is too much", "at most 1GiB"),
    ("queue: {max_bytes: 1023KiB}", "queue.max_bytes", "`1023KiB` is too little", "at least 1MiB"),
    ("queue: {max_bytes: 999999999999999999GiB}", "queue.max_bytes", "is too much", "at most 1073741824GiB"),
    ("queue: {max_bytes: 1.5}", "queue.max_bytes", "`1.5` is not a size", "a number of bytes"),
    ("queue: {max_bytes: }", "queue.max_bytes", "is empty, but a size is wanted", "such as 4GiB"),
    ("queue: {max_bytes: [4GiB]}", "queue.max_bytes", "is a list, but a size is wanted", "such as 4GiB"),
    # words
    ("queue: {backend: jetstream}", "queue.backend", "this build only knows the backend sqlite", "Write sqlite."),
    ("queue: {backend: sqlit}", "queue.backend", "`sqlit` is not known", "Did you mean `sqlite`?"),
    ("queue: {when_full: drop-oldest}", "queue.when_full", "is not known", "Did you mean `drop_oldest`?"),
    ("log: {level: off}", "log.level", "`off` is yes or no in YAML", "Write one of debug, info, warning, error."),
    ("log: {level: warn}", "log.level", "`warn` is not known", "Did you mean `warning`?"),
    ("log: {format: yaml}", "log.format", "`yaml` is not known", "auto, console, json"),
    # defaults of the envelope
    ("ingest: {defaults: {eventId: x}}", "ingest.defaults.eventId", "each event needs one of its own", "Write one of"),
    (
        "ingest: {defaults: {eventReceived: 1}}",
        "ingest.defaults.eventReceived",
        "only the destination sets it",
        "one of",
    ),
    ("ingest: {defaults: {data: {}}}", "ingest.defaults.data", "it is the content of an event", "Write one of"),
    ("ingest: {defaults: {eventSourceID: a}}", "ingest.defaults.eventSourceID", "is not known", "`eventSourceId`"),
    ("ingest: {defaults: {version: 1.10}}", "ingest.defaults.version", "`1.10` is a number in YAML", 'quotes: "1.10"'),
    (
        "ingest: {defaults: {version: 2024-01-01}}",
        "ingest.defaults.version",
        "is a date in YAML",
        'quotes: "2024-01-01"',
    ),
    ("ingest: {defaults: {eventType: on}}", "ingest.defaults.eventType", "`on` is yes or no in YAML", 'quotes: "on"'),
    ('ingest: {defaults: {eventType: ""}}', "ingest.defaults.eventType", "is empty text", "leave the line out"),
    ("ingest: {defaults: {eventType: }}", "ingest.defaults.eventType", "is empty, but text is wanted", "Write it like"),
    ('ingest: {defaults: {eventType: "a\\nb"}}', "ingest.defaults.eventType", "contains a line break", "on one line"),
    # durations
    ("shutdown_timeout: soon", "shutdown_timeout", "`soon` is not a duration", "ms, s, min, h or d"),
    ("shutdown_timeout: -1", "shutdown_timeout", "`-1` is not a duration", "such as 30s"),
    ("shutdown_timeout: .nan", "shutdown_timeout", "`.nan` is not a duration", "such as 30s"),
    ("shutdown_timeout: never", "shutdown_timeout", "`never` is not a duration", "such as 30s"),
    ("shutdown_timeout: 99999999d", "shutdown_timeout", "is too much", "at most 36500d"),
    ("shutdown_timeout: 1:30", "shutdown_timeout", "`1:30` is not a duration", "such as 30s"),
]

MAIN: list[Case] = [
    # the URL
    ("url: example.com/put", "url", "does not begin with https://", "Write it like https://"),
    ("url: ftp://example.com/put", "url", "does not begin with https://", "Write it like https://"),
    ("url: https:///put", "url", "the URL has no host", "Write it like https://"),
    ("url: 'https://example.com/put#x'", "url", "has a fragment", "Leave out the #"),
    ("url: https://me:secret@example.com/put", "url", "contains a user or a password", "in `headers`"),
    ("url: 5", "url", "`5` is a number in YAML, but a URL is wanted", "Write it like https://"),
    ("url: ", "url", "is empty, but a URL is wanted", "Write it like https://"),
    # signing
    ("signing: ", "signing.key_file", "is missing", "Add it, such as `key_file: /etc/forwarder/key.pem`"),
    ("signing: key.pem", "signing", "is text, but a group of settings is wanted", "`name: value`"),
    ("signing: {key_file: /k, alg: HS256}", "signing.alg", "`HS256` is not known", "auto, RS256, RS384, RS512"),
    ("signing: {key_file: /k, kid: 5}", "signing.kid", "`5` is a number in YAML", 'Put it in quotes: "5"'),
    ("signing: {key_file: /k, typ: ''}", "signing.typ", "is empty text", "leave the line out"),
    # match
    ("match: {eventID: x}", "match.eventID", "is not known", "eventSourceId, eventType"),
    ("match: {eventId: x}", "match.eventId", "it differs for every event", "Write one of eventSourceId"),
    ("match: {data: x}", "match.data", "only the text fields", "Write one of eventSourceId"),
    ("match: {eventType: []}", "match.eventType", "the list is empty: nothing would match", "Write it like [app-*]"),
    ("match: {eventType: }", "match.eventType", "is empty, but a list is wanted", "Write it like [app-*]."),
    ("match: {eventType: [a, '']}", "match.eventType[1]", "is empty text", "app-*"),
    ("match: {eventType: [a, 1]}", "match.eventType[1]", "`1` is a number in YAML", 'quotes: "1"'),
    ("match: {eventType: [[a]]}", "match.eventType[0]", "is a list, but text is wanted", "Write it like app-*"),
    ("match: [app]", "match", "is a list, but a group of settings", "`name: value`"),
    # batch
    ("batch: {max_events: 0}", "batch.max_events", "`0` is too little", "at least 1"),
    (
        "batch: {max_events: 010}",
        "batch.max_events",
        "`010` is not a whole number in plain decimal",
        "Write it like 1000",
    ),
    ("batch: {max_events: 1_000}", "batch.max_events", "`1_000` is not a whole number", "Write it like 1000"),
    ('batch: {max_events: "10"}', "batch.max_events", "`10` is text, but a whole number", "digits without quotes"),
    ("batch: {max_events: yes}", "batch.max_events", "`yes` is yes or no in YAML", "such as 1000"),
    ("batch: {max_bytes: 0}", "batch.max_bytes", "`0` is too little", "at least 1"),
    ("batch: {max_age: 1m}", "batch.max_age", "`1m` is not a duration", "ms, s, min, h or d"),
    # retry
    ("retry: {initial: 0}", "retry.initial", "`0` is too little", "at least 1ms"),
    ("retry: {multiplier: 0.5}", "retry.multiplier", "`0.5` is too little", "at least 1"),
    ("retry: {multiplier: .nan}", "retry.multiplier", "`.nan` is not a number", "Write it like 2"),
    ("retry: {multiplier: .inf}", "retry.multiplier", "`.inf` is not a number", "Write it like 2"),
    ("retry: {multiplier: 1000}", "retry.multiplier", "`1000` is too much", "at most 100"),
    ('retry: {multiplier: "2"}', "retry.multiplier", "`2` is text, but a number", "digits without quotes"),
    ("retry: {give_up_after: 0}", "retry.give_up_after", "`0` is too little", "at least 1ms"),
    ("retry: {give_up_after: nevr}", "retry.give_up_after", "`nevr` is not a duration", "such as 30s"),
    # responses
    ("responses: {4xx: held}", "responses.4xx", "`4xx` is not an HTTP status", "from 100 to 599"),
    ("responses: {600: held}", "responses.600", "`600` is not an HTTP status", "from 100 to 599"),
    (
        "responses: {403: retry}",
        "responses.403",
        "`retry` is not known",
        "deferred, rejected, held, too_large, delivered",
    ),
    ("responses: {403: 5}", "responses.403", "but an outcome is wanted", "Write one of deferred"),
    # the rest
    ("timeout: 0", "timeout", "`0` is too little", "at least 1ms"),
    ("in_flight: 0", "in_flight", "`0` is too little", "at least 1"),
    ("in_flight: 65", "in_flight", "`65` is too much", "at most 64"),
    ("in_flight: 1.0", "in_flight", "but a whole number is wanted", "digits without quotes"),
    ("queue: {max_bytes: 5}", "queue.max_bytes", "`5` is too little", "at least 1MiB"),
    ("queue: {when_full: block}", "queue.when_full", "`block` is not known", "reject, drop_oldest"),
    ("single_as_object: 1", "single_as_object", "but true or false is wanted", "Write it like true"),
    ('single_as_object: "true"', "single_as_object", "`true` is text", "Write it like true"),
    ("tls: {ca_file: ~x}", "tls.ca_file", "begins with ~", "${HOME}"),
    ("proxy: socks5://p.example:1", "proxy", "does not begin with https:// or http://", "http://proxy.example:3128"),
    ("proxy: http://p.example:1/path", "proxy", "has no path", "http://proxy.example:3128"),
    # headers
    ("headers: {content-type: text/plain}", "headers.content-type", "the forwarder sets this header", "Leave it out"),
    ("headers: {Host: x}", "headers.Host", "the forwarder sets this header itself", "Leave it out"),
    ("headers: {Content-Length: '1'}", "headers.Content-Length", "the forwarder sets this header", "Leave it out"),
    ("headers: {Transfer-Encoding: x}", "headers.Transfer-Encoding", "the forwarder sets this header", "Leave it out"),
    ("headers: {'X Y': a}", "headers", "a character that RFC 9110 does not allow", "X-Tenant"),
    ('headers: {"X\\nY": a}', "headers", "a character that RFC 9110 does not allow", "X-Tenant"),
    ('headers: {X-A: "a\\r\\nX-B: c"}', "headers.X-A", "contains a line break", "printable ASCII characters"),
    ("headers: {X-A: ä}", "headers.X-A", "a letter outside ASCII", "printable ASCII characters"),
    ("headers: {X-A: ''}", "headers.X-A", "the value of the header is empty", "printable ASCII"),
    ("headers: {X-A: 12345}", "headers.X-A", "what stands here is a number in YAML", 'like "a value"'),
    ("headers: {X-A: a, x-a: b}", "headers.x-a", "means the same as `X-A`", "Leave one of the two"),
]

NAMES = ["'a b'", "-a", "_a", "''", "a.b", "ä", "a" * 65]


@pytest.mark.parametrize(("text", "path", "problem", "remedy"), TOP, ids=[case[0] for case in TOP])
def test_a_wrong_setting_is_named_with_its_remedy(
    refuse: Refuse, text: str, path: str, problem: str, remedy: str
) -> None:
    """Each mistake gives one problem: its path, what is wrong, and what would be right."""
    (found,) = refuse(f"{text}\n{DESTINATION}")
    assert found.path == path
    assert problem in found.problem
    assert remedy in found.remedy


@pytest.mark.parametrize(("text", "path", "problem", "remedy"), MAIN, ids=[case[0] for case in MAIN])
def test_a_wrong_setting_of_a_destination_is_named_with_its_remedy(
    refuse: Refuse, text: str, path: str, problem: str, remedy: str
) -> None:
    """Each mistake in a destination gives one problem, whose path begins with the destination."""
    given = {"url": "https://example.com/put", "signing": "{key_file: /etc/forwarder/key.pem}"}
    name, _, value = text.partition(": ")
    lines = "".join(f"    {key}: {part}\n" for key, part in (given | {name: value}).items())
    (found,) = refuse(f"destinations:\n  main:\n{lines}")
    assert found.path == f"destinations.main.{path}"
    assert problem in found.problem
    assert remedy in found.remedy


@pytest.mark.parametrize("name", NAMES)
def test_a_destination_has_a_plain_name(refuse: Refuse, name: str) -> None:
    """Names of destinations are short and safe in URLs, labels and file names."""
    (found,) = refuse(DESTINATION.replace("main", name))
    assert "is not allowed here" in found.problem or "is empty text" in found.problem
    assert "up to 64 letters" in found.remedy or "Write something like main" in found.remedy


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("log: {level: info}", "is missing"),
        ("destinations:", "there is no destination"),
        ("destinations: {}", "there is no"),
    ],
)
def test_a_destination_is_needed(refuse: Refuse, text: str, problem: str) -> None:
    """Without a destination nothing works, and the remedy shows the least that would do."""
    (found,) = refuse(text)
    assert found.path == "destinations"
    assert problem in found.problem
    assert "main: {url: https://example.event.10duke.com/put, signing: {key_file:" in found.remedy


def test_a_destination_needs_a_url_and_a_key(refuse: Refuse) -> None:
    """Both are missed at once, by their paths and with examples."""
    url, key = refuse("destinations: {main: }")
    assert (url.path, url.problem) == ("destinations.main.url", "is missing")
    assert url.remedy == "Add it, such as `url: https://example.event.10duke.com/put`."
    assert (key.path, key.problem) == ("destinations.main.signing.key_file", "is missing")


def test_defaults_are_the_documented_ones(accept: Load) -> None:
    """A configuration with a URL and a key has the documented value everywhere else."""
    config = accept()
    assert config == Config(
        destinations={
            "main": DestinationConfig(
                url="https://example.com/put", signing=SigningConfig(key_file=Path("/etc/forwarder/key.pem"))
            )
        }
    )
    ingest, main = config.ingest, config.destinations["main"]
    assert [str(a) for a in ingest.http.listen] == ["unix:/run/forwarder/http.sock"]
    assert [str(a) for a in ingest.stream.listen] == ["unix:/run/forwarder/stream.sock"]
    assert (ingest.socket_mode, ingest.token_file, ingest.allow_uids, ingest.defaults) == (0o660, None, (), {})
    admin = config.admin
    assert (admin.socket_mode, admin.token_file, admin.allow_uids) == (0o600, None, ())
    assert (ingest.socket_group, admin.socket_group) == (None, None)
    assert (ingest.max_event_bytes, ingest.max_request_bytes) == (256 * 1024, 16 * 1024**2)
    assert (config.queue.backend, str(config.queue.path)) == ("sqlite", "/var/lib/forwarder/queue.db")
    assert (config.queue.max_bytes, config.queue.when_full) == (4 * 1024**3, "reject")
    assert (main.batch.max_events, main.batch.max_bytes, main.batch.max_age) == (1000, 1024**2, 1.0)
    assert (main.retry.initial, main.retry.max, main.retry.multiplier, main.retry.give_up_after) == (1, 300, 2, None)
    assert (main.timeout, main.in_flight, main.single_as_object, main.proxy) == (30, 1, False, None)
    assert (main.queue.max_bytes, main.queue.when_full, main.match, main.responses, main.headers) == (
        *(None, None),
        *({}, {}, {}),
    )
    assert (main.signing.alg, main.signing.kid, main.signing.typ, main.signing.cty) == ("auto", None, None, None)
    assert [str(a) for a in config.admin.listen] == ["unix:/run/forwarder/admin.sock"]
    assert (config.log.level, config.log.format, config.shutdown_timeout) == ("info", "auto", 20)


def test_every_setting_is_taken_over(accept: Load) -> None:
    """Values are brought into bytes, seconds, paths, addresses and outcomes."""
    config = accept(
        """
        ingest:
          http: {listen: "tcp:0.0.0.0:7710"}
          stream: {listen: []}
          socket_mode: 0600
          token_file: "${CREDENTIALS_DIRECTORY}/token"
          allow_uids: [0, 1000]
          max_event_bytes: 1000
          max_request_bytes: 2MB
          defaults: {eventObjectType: user, version: "1.10"}
        queue: {path: "${STATE}/queue.db", max_bytes: 1.5GiB, when_full: drop_oldest}
        destinations:
          blue-1:
            url: http://localhost:8080/put?feed=a
            match: {eventSourceId: app-*, eventType: [a, "b?"]}
            signing: {key_file: key.pem, passphrase_file: /p, alg: RS512, kid: k, typ: JOSE, cty: json}
            batch: {max_events: 5, max_bytes: "1000", max_age: 0}
            retry: {initial: 10ms, max: 1.5h, multiplier: 1.5, give_up_after: 7d}
            responses: {403: deferred, "410": rejected, 409: delivered}
            timeout: 0.5
            in_flight: 64
            queue: {max_bytes: 1MiB, when_full: reject}
            single_as_object: yes
            headers: {X-Tenant: blue, Authorization: "Bearer x y"}
            tls: {ca_file: /ca, cert_file: /cert, key_file: /key}
            proxy: http://me:secret@proxy.example:3128
        admin: {listen: ["tcp:[::1]:7711"], token_file: null}
        log: {level: debug, format: json}
        shutdown_timeout: 0
        """,
        {"CREDENTIALS_DIRECTORY": "/run/credentials/x", "STATE": "/var/lib/x"},
    )
    ingest, main = config.ingest, config.destinations["blue-1"]
    assert ingest.http.listen == (Address(host="0.0.0.0", port=7710),)
    assert ingest.stream.listen == ()
    assert (ingest.socket_mode, ingest.allow_uids) == (0o600, (0, 1000))
    assert ingest.token_file == Path("/run/credentials/x/token")
    assert (ingest.max_event_bytes, ingest.max_request_bytes) == (1000, 2_000_000)
    assert ingest.defaults == {"eventObjectType": "user", "version": "1.10"}
    assert (config.queue.path, config.queue.max_bytes) == (Path("/var/lib/x/queue.db"), 1610612736)
    assert config.queue.when_full == "drop_oldest"
    assert main.match == {"eventSourceId": ("app-*",), "eventType": ("a", "b?")}
    assert (main.signing.key_file, main.signing.alg, main.signing.kid) == (Path("key.pem"), "RS512", "k")
    assert (main.batch.max_events, main.batch.max_bytes, main.batch.max_age) == (5, 1000, 0)
    assert (main.retry.initial, main.retry.max, main.retry.multiplier) == (0.01, 5400, 1.5)
    assert main.retry.give_up_after == 604800
    assert main.responses == {403: Outcome.DEFERRED, 410: Outcome.REJECTED, 409: Outcome.DELIVERED}
    assert (main.timeout, main.in_flight, main.single_as_object) == (0.5, 64, True)
    assert (main.queue.max_bytes, main.queue.when_full) == (1024**2, "reject")
    assert main.headers == {"X-Tenant": "blue", "Authorization": "Bearer x y"}
    assert (main.tls.ca_file, main.tls.cert_file, main.tls.key_file) == (Path("/ca"), Path("/cert"), Path("/key"))
    assert main.proxy == "http://me:secret@proxy.example:3128"
    assert (config.admin.listen, config.shutdown_timeout) == ((Address(host="::1", port=7711),), 0)


@pytest.mark.parametrize("mode", ["0660", '"0660"', '"660"', '"0o660"', "0o660"])
def test_a_socket_mode_that_can_only_be_octal_is_octal(accept: Load, mode: str) -> None:
    """A mode with a leading zero is octal without quotes, too."""
    assert accept(f"ingest: {{socket_mode: {mode}}}\n{DESTINATION}").ingest.socket_mode == 0o660


@pytest.mark.parametrize("nothing", ["", "{}", "null", "\n    # max_events: 5"])
def test_a_group_without_settings_has_its_defaults(accept: Load, nothing: str) -> None:
    """A group of which every line is commented out, and an empty map, are as if they were left out."""
    text = f"ingest: {nothing}\n{DESTINATION}    match: {nothing}\n    batch: {nothing}\n"
    assert accept(text) == accept()
    assert accept().ingest == IngestConfig()


@pytest.mark.parametrize("word", ["never", "null", ""])
def test_an_absent_value_may_be_written_out(accept: Load, word: str) -> None:
    """`never`, null and nothing all mean that events are never given up."""
    config = accept(f"{DESTINATION}    retry: {{give_up_after: {word}}}\n")
    assert config.destinations["main"].retry.give_up_after is None


def test_secrets_do_not_appear_in_messages(refuse: Refuse) -> None:
    """Neither a header's value nor a password in a URL is repeated by the problem that it causes."""
    problems = refuse(
        """
        destinations:
          main:
            url: https://me:hunter2@example.com/put
            signing: {key_file: /k}
            headers: {A: 1234567, B: "hunter2\\n"}
            proxy: http://me:hunter2/x@example.com
        """
    )
    assert len(problems) == 4
    assert not any("hunter2" in str(problem) or "1234567" in str(problem) for problem in problems)


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://example.com/put", True),
        ("http://127.example.com/put", True),
        ("https://example.com/put", False),
        ("http://localhost:8080/put", False),
        ("http://127.0.0.1/put", False),
        ("http://[::1]:8080/put", False),
    ],
)
def test_plain_http_to_another_machine_is_warned_of(accept: Load, url: str, warned: bool) -> None:
    """Events that leave the machine unencrypted are allowed, with a warning that names the setting."""
    warnings = accept(DESTINATION.replace("https://example.com/put", url)).warnings()
    assert [w.startswith("destinations.main.url: ") and "use https" in w for w in warnings] == [True] * warned


def test_tls_settings_without_tls_are_warned_of(accept: Load) -> None:
    """Settings of TLS do nothing for a plain http URL."""
    text = DESTINATION.replace("https://example.com", "http://localhost") + "    tls: {ca_file: /ca.pem}\n"
    (warning,) = accept(text).warnings()
    assert warning.startswith("destinations.main.tls has no effect")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ingest: {http: {listen: 'tcp:127.0.0.1:7710'}}", ["ingest.http.listen[0], tcp:127.0.0.1:7710: every user"]),
        ("ingest: {stream: {listen: [unix:/a, 'tcp:localhost:1']}}", ["ingest.stream.listen[1], tcp:localhost:1: e"]),
        ("admin: {listen: ['tcp:[::1]:7711']}", ["admin.listen[0], tcp:[::1]:7711: every user"]),
        ("ingest: {http: {listen: 'tcp:127.0.0.1:7710'}, token_file: /t}", []),
        ("admin: {listen: ['tcp:[::1]:7711'], token_file: /t}", []),
        ("ingest: {socket_mode: '0666'}", ["ingest.socket_mode: every user"]),
        ("admin: {socket_mode: '0666'}", ["admin.socket_mode: every user"]),
        ("admin: {socket_mode: '0666', allow_uids: [1000]}", []),
        ("admin: {socket_mode: '0666', listen: []}", []),
        ("admin: {socket_mode: '0660', socket_group: operators}", []),
    ],
)
def test_doors_that_let_everybody_in_are_warned_of(accept: Load, text: str, words: list[str]) -> None:
    """Whoever gets in past mode, group and user ids is named, with the address and what would be right."""
    warnings = accept(f"{text}\n{DESTINATION}").warnings()
    assert [found[: len(begin)] for found, begin in zip(warnings, words, strict=True)] == words
    for found in warnings:
        section = found.partition(".")[0]
        assert f"set {section}." in found or "listen at" in found
        assert ("send" in found) == (section == "ingest")


@pytest.mark.parametrize("group", ["forwarder", "_a-b.c", "0", "54321", "4294967294", "acme$"])
def test_groups(accept: Load, group: str) -> None:
    """A group is a name or a number, in quotes or without."""
    for text in (group, f"'{group}'"):
        config = accept(f"ingest: {{socket_group: {text}}}\nadmin: {{socket_group: {text}}}\n{DESTINATION}")
        assert (config.ingest.socket_group, config.admin.socket_group) == (group, group)


@pytest.mark.parametrize("group", ["''", "a b", "-1", "4294967295", "010", "1.5", "[a]", "yes"])
def test_what_is_no_group(refuse: Refuse, group: str) -> None:
    """What cannot be a group, or is -1, is refused."""
    (found,) = refuse(f"ingest: {{socket_group: {group}}}\n{DESTINATION}")
    assert found.path == "ingest.socket_group"


def test_the_account_of_what_is_invalid_is_no_destination(accept: Load, refuse: Refuse) -> None:
    """No destination can have the name of the account in which invalid events stand; a longer name is another."""
    (found,) = refuse(DESTINATION.replace("main", "invalid"))
    assert found.path == "destinations.invalid"
    assert "the account of what breaks the rules (ingest.invalid)" in found.remedy
    assert "invalid-2" in accept(DESTINATION.replace("main", "invalid-2")).destinations
