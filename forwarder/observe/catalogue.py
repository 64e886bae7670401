"""Every line that the daemon can write into its log: how bad it is, what it means, and what to do about it.

The table in README.md beside this file is this one, and a test compares both with what the code says. A metric
gets its name here, too, beside the line that tells of the same.
"""

from __future__ import annotations

from typing import NamedTuple


class Line(NamedTuple):
    """What is the same each time that a line is logged."""

    level: str
    """debug, info, warning or error."""
    meaning: str
    """What has happened, for the documentation."""
    hint: str = ""
    """The operator's next step, where there is one: it stands in the line, unless the fact brings a better one."""


_KEPT = "the old configuration goes on"

LINES = {
    # --- the process -----------------------------------------------------------------------------
    "forwarder.started": Line("info", "Events are accepted from now on."),
    "forwarder.stopping": Line("info", "It accepts nothing more and delivers what waits, for `timeout` seconds."),
    "forwarder.stopped": Line(
        "info", "The queue is closed, and the process ends; so many events are `queued` for the next start."
    ),
    "forwarder.left_at_once": Line(
        "warning", "A second signal came while it was stopping.", "what is not delivered stays queued"
    ),
    "shutdown.timeout": Line(
        "warning",
        "A destination did not end within `shutdown_timeout`: what is left of it, and how many batches were under way.",
        "what is left stays queued; what was under way may be delivered twice",
    ),
    "config.warning": Line("warning", "A setting is allowed, and rarely meant; `detail` says which and why."),
    "reload.done": Line("info", "Another configuration, or other keys, are in place."),
    "reload.refused": Line("error", "The new configuration has a mistake; one line for each.", _KEPT),
    "reload.failed": Line("error", "A bug kept the new configuration from being put in place.", _KEPT),
    "systemd.not_told": Line("warning", "The service manager's socket takes no messages."),
    "running.not_noted": Line("debug", "Commands may not find this daemon without `-c` or `--admin`."),
    "log.lines_lost": Line("warning", "Standard error took no lines for a while; `lines` are missing here."),
    "round.failed": Line("error", "A bug: a look at the queue failed; it looks again in the next round."),
    "observer.failed": Line("error", "A bug in the log, or in what counts: something that happened was not told."),
    # --- the ways in -----------------------------------------------------------------------------
    "listener.opened": Line("info", "An address is listened at."),
    "listener.closed": Line("info", "A reload took an address away."),
    "connections.refused": Line(
        "warning",
        "Clients were sent away for want of open files, which deliveries need.",
        "open files run out: close idle clients, or raise the limit (LimitNOFILE=, ulimit -n)",
    ),
    "events.refused": Line(
        "warning",
        "Clients were refused: so many requests over HTTP, or lines of a stream, since the last such line.",
        "`detail` is what the client was told, with what it has to change; `peer` and `pid` say which client it is",
    ),
    "intake.failed": Line("error", "A bug: a request was answered 500."),
    "stream.failed": Line("error", "A bug: a stream was cut, and its client told so."),
    # --- the queue -------------------------------------------------------------------------------
    "queue.still_full": Line(
        "warning",
        "What `queue.full` told of goes on, or comes and goes: a line a minute, with whom it has cost since it began.",
    ),
    "queue.storage_failing": Line(
        "error",
        "The disk is full, or fails: events are refused, and it is tried again.",
        "free space, or look at the disk; no restart is needed",
    ),
    "queue.storage_recovered": Line("info", "The storage takes events again."),
    "queue.no_room_for_dead_letters": Line(
        "warning",
        "A dead letter takes more room than its event did, and there is none.",
        "what should die stays queued; purge or replay dead letters, or raise the limit",
    ),
    "queue.file_gone": Line(
        "error",
        "The queue's file was removed, renamed or replaced while it was in use.",
        "export what is queued before the process ends; the line says how",
    ),
    "queue.file_back": Line("info", "The queue's file is in its place again."),
    "queue.not_folded": Line("warning", "The file that was moved away may lack the last events."),
    "queue.lock_restored": Line(
        "warning", "The lock file was made anew.", "somebody had removed the lock file of the queue"
    ),
    "queue.set_aside": Line(
        "error",
        "The queue's file was damaged. What could be read is in a new one; the old one is kept as `file`.",
        "a new queue was begun",
    ),
    "queue.events_missing": Line(
        "error",
        "More events were accepted than the queue's file knows of.",
        "the queue file knows nothing of so many events that were accepted: they were delivered before, or"
        " are lost. Its log was removed or damaged, its accounts were (queue.set_aside), or it is an old copy",
    ),
    "queue.events_lost": Line(
        "error",
        "Rows of the queue's file have gone.",
        "their rows are missing from the queue file; they are counted as dropped",
    ),
    "queue.segment_damaged": Line(
        "error",
        "Stored events do not match their checksum; they are not delivered.",
        "they are kept as dead letters: forwarder dead list --reason damaged",
    ),
    "queue.log_cut": Line(
        "warning",
        "The write-ahead log ends in the middle of a commit.",
        "a commit at the end of the write-ahead log is not whole. After a power cut, or a sync that failed, it"
        " was not acknowledged; otherwise the disk has damaged it",
    ),
    "queue.log_mended": Line(
        "error",
        "The write-ahead log was damaged in the middle; it is kept as `file`.",
        "the write-ahead log was damaged; what was committed behind the damage is read as well. Look at the disk",
    ),
    "queue.migrating": Line(
        "warning",
        "The queue's file is brought up to date.",
        "a forwarder of an older version cannot read the queue from now on; before going back to one,"
        " let the queue be delivered, or export it",
    ),
    "queue.write_failed": Line("error", "A bug: one change of the queue was not made, and its caller was told."),
    "queue.job_failed": Line("error", "A bug: the queue goes on with what comes next."),
    # --- destinations ----------------------------------------------------------------------------
    "destination.started": Line("info", "It is delivered to from now on, signed with `alg` and the key `key`."),
    "destination.removed": Line("warning", "It is no longer configured.", "what is queued for it is kept"),
    "destination.not_configured": Line(
        "warning",
        "The queue holds events or dead letters of a destination that is not configured.",
        "its events are kept; configure it again",
    ),
    "destination.failing": Line(
        "warning",
        "An outage begins: a batch was not taken, and is tried again after `retry_in` seconds, and again.",
        "nothing is lost; look at the destination and the way to it. forwarder queue flush -d NAME tries at once",
    ),
    "destination.held": Line(
        "warning",
        "The destination, or something on the way, is misconfigured or does not know the key; nothing is dropped.",
        "register the public key (forwarder keys show), or correct the url: a file that changes is tried at once,"
        " and forwarder queue resume -d NAME tries at once",
    ),
    "destination.still_failing": Line(
        "warning",
        "An outage goes on; one line every ten minutes, with how long, how many attempts, and how many events wait.",
        "forwarder status says what is being waited for",
    ),
    "destination.recovered": Line(
        "info", "An outage is over: it lasted so many `seconds` and `attempts`, and so many `events` had gathered."
    ),
    "destination.distrusted": Line(
        "warning",
        "It took what it had refused before.",
        "its refusals count as failures for a while; look for the server that answers so",
    ),
    "pump.failed": Line("error", "A bug in the delivery to one destination.", "it is started again; nothing is lost"),
    # --- batches and events ----------------------------------------------------------------------
    "batch.delivered": Line("debug", "A batch was taken."),
    "batch.deferred": Line("debug", "Another attempt in an outage failed; the next one is in `retry_in` seconds."),
    "batch.held": Line("debug", "The same, where somebody has to mend the destination."),
    "batch.too_large": Line("info", "Batches are smaller from now on: up to `next_events` and `next_bytes`."),
    "batch.not_taken": Line("error", "The queue could not read what is next; it is tried again."),
    "leases.not_renewed": Line(
        "warning",
        "The queue could not be told that batches are still being worked on.",
        "this is tried again; where leases end meanwhile, their events may be delivered twice",
    ),
    "batch.not_settled": Line(
        "error",
        "That a batch was answered could not be recorded before the stop.",
        "it stays queued, and is sent again after the next start",
    ),
    "events.set_aside": Line(
        "warning",
        "Some events are not taken while others are.",
        "they were refused or failed alone; others are delivered meanwhile, and they are tried again",
    ),
    "event.not_read": Line("error", "The queue could not read an event that was set aside; it is tried again."),
    "event.dead": Line(
        "warning",
        "Events were given up and are dead letters now; `ids` has the `eventId` of the first 20.",
        "see forwarder dead list",
    ),
    "events.expired": Line(
        "error", "Events are older than `give_up_after` and are dead letters now.", "see forwarder dead list"
    ),
    "events.not_expired": Line("warning", "The storage fails: what is too old stays queued until it works."),
    "dead_letters.dropped": Line("warning", "Dead letters were older than `dead_letters.max_age`."),
    "dead_letters.not_dropped": Line(
        "warning", "The storage fails: dead letters that are too old are still there.", "they are dropped once it works"
    ),
    # --- conditions: each begins with a line of its own key ---------------------------------------
    "config.not_read": Line(
        "warning",
        "The configuration file has changed on disk, and nobody has read it.",
        "forwarder check, then forwarder reload; `reload: auto` in it does so by itself",
    ),
    "admin.wrong_tokens": Line(
        "warning",
        "Somebody shows one wrong token after the other to the admin API.",
        "a program may still have an old token; if nobody knows that peer, see that it cannot connect",
    ),
    "queue.full": Line(
        "error",
        "Producers are refused, or stopped: the queue, or the share of a destination, is full.",
        "mend the destination (forwarder status), drop what is not needed (forwarder queue purge, dead purge), or raise"
        " the limit that is named: a destination's takes a reload, queue.max_bytes a restart",
    ),
    "invalid.full": Line(
        "warning",
        "There is no more room for what breaks the rules and should be kept.",
        "what is invalid is refused; replay or purge the dead letters of the account invalid",
    ),
    "queue.fills_soon": Line(
        "warning",
        "At the rate of the last minutes the queue, or the share of a destination, is full within the hour.",
        "mend the destination (forwarder status), or raise the limit: a destination's takes a reload, queue.max_bytes"
        " a restart",
    ),
    "disk.fills_soon": Line(
        "warning",
        "At the rate of the last minutes the disk of the queue is full within the hour.",
        "free space, or give the queue a larger disk; events are refused once it is full",
    ),
    "certificate.expires": Line(
        "warning",
        "A certificate for the way to a destination ends within two weeks, or has ended; `detail` says which and when.",
        "have it renewed: a file here is read once it is replaced, that of a server is its operator's",
    ),
    "clock.off": Line(
        "warning",
        "The clock of this machine and that of a destination differ by more than a minute.",
        "look at both clocks, here with: timedatectl",
    ),
    "key.refused": Line(
        "warning",
        "A destination has refused a key, and has taken nothing since it is in use.",
        "register its public half there (forwarder keys show), or put the right key in place: it is tried at once",
    ),
    "condition.ended": Line("info", "What the line `condition` told of is over, after so many `seconds`."),
    # --- operators -------------------------------------------------------------------------------
    "admin.act": Line("warning", "Somebody did something to the daemon: who, what, and what came of it."),
    "admin.act_failed": Line("warning", "The same, and it failed; a part of it may be done."),
    "admin.stream_cut": Line("warning", "An export or a list ended early, and the client sees that it did."),
    "admin.failed": Line("error", "A bug: a request to the admin API was answered 500."),
}
