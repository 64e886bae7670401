"""Every setting: its default, and what is said when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from forwarder.config import Config, DestinationConfig, IngestConfig, SigningConfig, SqliteConfig
from forwarder.model import Address, Outcome
from forwarder.queue.sqlite.files import QueueFile
from tests.config.cases import MAIN, TOP
from tests.config.conftest import DESTINATION, Load, Refuse

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
    assert isinstance(config.queue, SqliteConfig)
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
    assert isinstance(config.queue, SqliteConfig)
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


def test_every_file_of_a_queue_belongs_to_it() -> None:
    """What the configuration keeps free for the queue has every name that the queue uses."""
    queue = SqliteConfig(path=Path("/q/queue.db"))
    assert {str(file.beside(queue.path)) for file in QueueFile} <= set(queue.files)


def test_the_account_of_what_is_invalid_is_no_destination(accept: Load, refuse: Refuse) -> None:
    """No destination can have the name of the account in which invalid events stand; a longer name is another."""
    (found,) = refuse(DESTINATION.replace("main", "invalid"))
    assert found.path == "destinations.invalid"
    assert "the account of what breaks the rules (ingest.invalid)" in found.remedy
    assert "invalid-2" in accept(DESTINATION.replace("main", "invalid-2")).destinations
