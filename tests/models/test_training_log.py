"""The log of a fit, read back as TensorBoard would."""

from __future__ import annotations

import struct

import numpy as np
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event

from crpnet_bench.models.catalogue import build_model
from crpnet_bench.models.training_log import HasHistory, LossHistory, write_training_log
from crpnet_bench.progress import SilentProgress


def _masked(data: bytes) -> int:
    check = crc32c(data)
    return ((check >> 15 | check << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_events(folder):
    """Every record of the only log in a folder; both check sums of each are verified."""
    (path,) = folder.iterdir()
    assert "tfevents" in path.name
    content, place, events = path.read_bytes(), 0, []
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        data = content[place + 12 : place + 12 + length]
        assert struct.unpack_from("<I", content, place + 8)[0] == _masked(
            content[place : place + 8]
        )
        assert struct.unpack_from("<I", content, place + 12 + length)[0] == _masked(data)
        events.append(Event.FromString(data))
        place += 16 + length
    return events


def series(events):
    """tag -> {step: value}."""
    found = {}
    for event in events:
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_every_loss_of_every_member_reads_back(tmp_path):
    training = np.array([[0.9, 0.8], [0.7, 0.6], [0.5, 0.4]], np.float32)
    looks = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    history = LossHistory(training, (2, 3), looks, (0, 2))
    write_training_log(history, tmp_path / "log")
    events = read_events(tmp_path / "log")
    assert events[0].file_version == "brain.Event:2"
    found = series(events)
    assert set(found) == {
        f"{kind}/member_{i}" for kind in ("training_loss", "set_aside_loss") for i in (0, 1)
    }
    for member in (0, 1):
        own = found[f"training_loss/member_{member}"]
        assert own == dict(enumerate(training[:, member].tolist()))
        assert found[f"set_aside_loss/member_{member}"] == dict(
            zip((0, 2), looks[:, member].tolist(), strict=True)
        )
    assert history.final_loss == (np.float32(0.7), np.float32(0.4))


def test_written_again_it_is_one_log_with_the_same_bytes(tmp_path):
    history = LossHistory(np.ones((4, 1), np.float32), (4,))
    write_training_log(history, tmp_path)
    (path,) = tmp_path.iterdir()
    first = path.read_bytes()
    write_training_log(history, tmp_path)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [first]


def test_a_fit_keeps_its_losses_unless_told_not_to(training, run_config):
    def fit(**train):
        model = build_model("crpnet", run_config(**train), "cpu")
        return model.fit(training, seed=1, progress=SilentProgress())

    fitted = fit()
    assert isinstance(fitted, HasHistory)
    assert fitted.history.training.shape == (5, 2)
    assert fitted.history.final_loss == fitted.card.final_loss
    assert fit(log=False).history is None
