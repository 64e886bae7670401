"""Single events out of their turn."""

from __future__ import annotations

from forwarder.queue.sqlite import apart
from tests.queue.building import numbers, segment
from tests.queue.sqlite.stores import Desk


def test_a_damaged_row_yields_nothing() -> None:
    """What does not match its checksum is neither handed out nor leased; its turn will come, and then it is buried."""
    desk = Desk()
    desk.append(segment(0, 3))
    desk.append(segment(3, 3))
    desk.db.execute("UPDATE segment SET data = CAST(replace(data, '\"n\":1', '\"n\":7') AS BLOB) WHERE id & 255 = 0")
    assert apart.take_at(desk.store, "main", 1) is None
    assert not desk.store.destinations["main"].leased
    leased = apart.take_at(desk.store, "main", 4)
    assert leased is not None
    [again] = apart.take_again(desk.store, "main", [1, 4], 1 << 20)
    assert numbers(again.data) == [4]
    desk.close()
