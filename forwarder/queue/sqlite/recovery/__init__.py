"""What is done about damage, walled off from the queue that works. This is its only door.

It is entered at four moments, and at no other:

- **Before SQLite opens the file** (`examine`): commits hidden behind a damaged frame of the write-ahead log are made
  readable, since SQLite would forget them in silence, and a spoiled header is found before SQLite fails on it.
- **When the file turns out to be damaged**, at the start or while it is in use (`rebuild`): what can be read goes into
  a new file, which takes the place of the damaged one. The damaged one is renamed; nothing is deleted.
- **At a start after a crash in the middle of that** (`finish_rebuild`): a complete new file takes its place.
- **When somebody only asks** (`begins_as_queue`, `version_of`): is this a queue at all, and of which version? Neither
  changes anything.

Inside, `first_page` and `wal` know the parts of the file without which SQLite reads nothing, `pages` finds rows
that no tree leads to any more, `salvage` makes accounts that add up of whatever was found, and `rebuilding` takes the
steps in an order in which a crash at any moment leaves at least what there was before.
"""

from forwarder.queue.sqlite.recovery.first_page import begins_as_queue, version_of
from forwarder.queue.sqlite.recovery.rebuilding import examine, finish_rebuild, rebuild
from forwarder.queue.sqlite.recovery.salvage import Accounts

__all__ = ["Accounts", "begins_as_queue", "examine", "finish_rebuild", "rebuild", "version_of"]
