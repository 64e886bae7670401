"""The verdict on a stream, however its bytes are cut into reads and taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.envelope import Envelope, Excerpt
from forwarder.ingest.framing import Framer
from tests.fuzzing import examples
from tests.hostile import many_lines
from tests.reference import Rules

pytestmark = pytest.mark.fuzz


@examples(150)
@given(st.lists(many_lines(), min_size=1, max_size=2), st.data())
def test_reads_make_no_difference(parts: list[bytes], data: st.DataObject) -> None:
    """However a stream is cut, whenever and in whatever pieces it is taken, each line has the same fate, in order."""
    stream = data.draw(st.sampled_from([b"\n", b"\r\n", b""])).join(parts)
    sizes = sorted({len(line) for line in stream.split(b"\n")})
    limit = data.draw(st.sampled_from(sizes)) + data.draw(st.sampled_from([0, 1, 10_000_000]))
    rules = Rules({}, {"main": {}}, max(1, limit - 1))
    envelope = Envelope(routes=rules.routes, max_event_bytes=rules.max_event_bytes, random_bytes=bytes)
    framer, found = Framer(limit), list[int | None]()

    def take() -> None:
        while (piece := framer.take(data.draw(st.integers(1, 200)))) is not None:
            if isinstance(piece, Excerpt):
                found.append(413)
                continue
            checked, refused, rest = envelope.sift(piece)
            fates: list[int | None] = [None] * (checked.events + len(refused))
            for refusal in refused:
                fates[refusal.index] = refusal.status
            found.extend(fates)
            if rest:
                framer.put_back(rest)

    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        framer.feed(stream[start:end])
        if data.draw(st.booleans()):
            take()
    framer.finish()
    take()
    assert found == rules.stream(stream, limit)
    assert framer.size == 0
