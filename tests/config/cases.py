"""Mistakes, and what is said about them: shared by the tests of loading and of the JSON Schema."""

from __future__ import annotations

# A queue's path with a name that is too long for what stands beside it, and one that is too long for SQLite.
LONG_NAME = f"queue: {{path: /{'n' * 216}}}"
LONG_PATH = f"queue: {{path: {('/' + 'd' * 100) * 4}/{'n' * 87}}}"

# A snippet of YAML, the path that the problem names, and words of the problem and of the remedy.
Case = tuple[str, str, str, str]

# At the top of the document.
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

# In the destination `main`.
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

EXPOSED = "can be reached from other machines, and no token is required"

# Settings that are each right by themselves: a snippet, the paths, words of the problem and of the remedy.
CONTRADICTIONS = [
    (
        "ingest: {http: {listen: 'tcp:0.0.0.0:7710'}}",
        ["ingest.http.listen[0]"],
        EXPOSED,
        "Set ingest.token_file, or listen",
    ),
    ("ingest: {stream: {listen: 'tcp:[::]:7720'}}", ["ingest.stream.listen[0]"], EXPOSED, "tcp:127.0.0.1:7720"),
    ("admin: {listen: 'tcp:192.0.2.1:7711'}", ["admin.listen[0]"], EXPOSED, "Set admin.token_file"),
    (
        "admin: {token_file: /t, viewer_listen: 'tcp:192.0.2.1:7711'}",
        ["admin.viewer_listen[0]"],
        EXPOSED,
        "Set admin.viewer_token_file",
    ),
    (
        "admin: {listen: 'unix:/a', viewer_listen: 'unix:/a'}",
        ["admin.viewer_listen[0]"],
        "unix:/a is taken by admin.listen[0]",
        "its own address",
    ),
    (
        "queue: {path: /t}\nadmin: {viewer_token_file: /t}",
        ["queue.path"],
        "/t is the file of admin.viewer_token_file",
        "",
    ),
    (
        "ingest: {token_file: /t}\nadmin: {listen: [unix:/a, 'tcp:0.0.0.0:7711']}",
        ["admin.listen[1]"],
        EXPOSED,
        "Set admin.token_file",
    ),
    (
        "ingest: {http: {listen: []}, stream: {listen: []}}",
        ["ingest.http.listen"],
        "there is no address at all",
        "Give ",
    ),
    (
        "ingest: {http: {listen: 'tcp:127.0.0.1:7710'}}\nadmin: {listen: 'tcp:127.0.0.1:7710'}",
        ["admin.listen[0]"],
        "is taken by ingest.http.listen[0]",
        "its own address",
    ),
    (
        "ingest: {stream: {listen: [unix:/a, unix:/a]}}",
        ["ingest.stream.listen[1]"],
        "taken by ingest.stream.listen[0]",
        "",
    ),
    ("ingest: {stream: {listen: [unix:/a//./b, unix:/a/b]}}", ["ingest.stream.listen[1]"], "is taken by", "Give each"),
    (
        "ingest: {http: {listen: 'tcp:127.0.0.1:7710'}}\nadmin: {listen: 'tcp:0.0.0.0:7710', token_file: /t}",
        ["admin.listen[0]"],
        "tcp:0.0.0.0:7710 is taken by ingest.http.listen[0] (tcp:127.0.0.1:7710)",
        "Give each its own address",
    ),
    ("queue: {path: /run/forwarder/http.sock}", ["ingest.http.listen[0]"], "belongs to the queue", "another path"),
    (
        "queue: {path: /q}\nadmin: {listen: 'unix:/q-wal'}",
        ["admin.listen[0]"],
        "/q-wal belongs to the queue",
        "another",
    ),
    (
        "queue: {path: /t}\ningest: {token_file: /a/../t}",
        ["queue.path"],
        "/t is the file of ingest.token_file, too",
        "Give the queue a file of its own",
    ),
    ("queue: {path: /t}\nadmin: {token_file: /t.lock}", ["queue.path"], "/t.lock is the file of admin.token_file", ""),
    (
        "ingest: {max_event_bytes: 17MiB}",
        ["ingest.max_event_bytes"],
        "17MiB is more than ingest.max_request_bytes",
        "raise",
    ),
    (
        "ingest: {max_request_bytes: 1kB}",
        ["ingest.max_event_bytes"],
        "256KiB is more than ingest.max_request_bytes",
        "low",
    ),
    (
        "ingest: {max_event_bytes: 2MiB}\nqueue: {max_bytes: 1MiB}",
        ["ingest.max_event_bytes"],
        "2MiB is more than queue.max_bytes (1MiB)",
        "must fit into the queue",
    ),
]
