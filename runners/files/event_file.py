"""A TensorBoard event file, written as it comes: an error of the disk is raised where it happens, and once.

TensorBoard's own writer does the same in a thread, whose errors end as tracebacks between other lines. Cost: some µs an
event; the file is flushed every few seconds, so that a run can be watched.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import socket
import struct
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import CRC_TABLE
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_tensor_proto

from market_env.engine.kernel import kernel
from runners.files.whole import cannot_be_written

FLUSH_SECONDS = 10.0
"""Time after which what was written is handed to the disk."""
TABLE = np.array(CRC_TABLE, np.int64)


@kernel
def crc32c(data: NDArray[np.uint8], table: NDArray[np.int64]) -> int:
    """The CRC-32C of bytes; TensorBoard's own, in plain Python, took most of a run's time to write one."""
    crc = 0xFFFFFFFF
    for i in range(len(data)):
        crc = table[(crc ^ data[i]) & 0xFF] ^ (crc >> 8)
    return int(crc ^ 0xFFFFFFFF)


def masked(data: bytes) -> bytes:
    """The checksum of bytes as the file has it."""
    crc: int = crc32c(np.frombuffer(data, np.uint8), TABLE)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


_number = struct.Struct("<f")


def _length(size: int) -> bytes:
    """A length as Protocol Buffers write it: seven bits a byte, lowest first."""
    found = bytearray()
    while size > 0x7F:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*found, size])


@functools.cache
def _before_number(tag: str) -> bytes:
    """What stands in a summary before the number of a tag: both do not change from step to step."""
    named = Summary.Value(tag=tag, simple_value=0.0).SerializeToString()
    before: bytes = b"\x0a" + _length(len(named)) + named[:-4]
    return before


class EventFile:
    """One event file.

    Args:
        folder: where it goes; made if it is not there.
        purge_step: events of earlier files from this step on are void: a run goes on from there.

    Raises:
        RunFolderError: it cannot be written; so all methods.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        # TensorBoard reads files in the order of their names: a run that goes on at once comes after itself.
        named = [file.name.split(".")[3] for file in folder.glob("events.out.tfevents.*")]
        begun = max([int(time.time()), *(1 + int(second) for second in named if second.isdigit())])
        name = f"events.out.tfevents.{begun:010d}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
        self.path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb")
        except OSError as error:
            raise cannot_be_written(self.path, error) from None
        self._flushed = time.monotonic()
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if purge_step is not None:
            self._write(Event(wall_time=time.time(), step=purge_step, session_log=SessionLog(status=SessionLog.START)))
        self.flush()

    def _write(self, event: Event | bytes) -> None:
        data = event if isinstance(event, bytes) else event.SerializeToString()
        size = struct.pack("<Q", len(data))
        try:
            self._file.write(size + masked(size) + data + masked(data))
        except OSError as error:
            raise cannot_be_written(self.path, error) from None

    def add(self, summary: Summary, step: int, moment: float | None = None) -> None:
        """Write a summary at a step, as of a moment (wall time, by default now)."""
        self._write(Event(step=step, wall_time=time.time() if moment is None else moment, summary=summary))
        self._flush_at_times()

    def add_scalars(self, values: Iterable[tuple[str, float]], step: int, moment: float) -> None:
        """Write numbers by tag at a step, as :meth:`add` would write :func:`scalars` of them, in a tenth of the time."""
        data = b"".join([part for tag, number in values for part in (_before_number(tag), _number.pack(number))])
        self._write(Event(step=step, wall_time=moment).SerializeToString() + b"\x2a" + _length(len(data)) + data)
        self._flush_at_times()

    def _flush_at_times(self) -> None:
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Hand what was written to the disk."""
        self._flushed = time.monotonic()
        try:
            self._file.flush()
        except OSError as error:
            raise cannot_be_written(self.path, error) from None

    def close(self) -> None:
        """Write the rest and close the file."""
        try:
            self.flush()
        finally:
            # A second failure of the same disk says nothing new.
            with contextlib.suppress(OSError):
                self._file.close()

    def abandon(self) -> None:
        """Close the file as it is, since something else went wrong."""
        with contextlib.suppress(OSError):
            self._file.close()


def scalars(values: Iterable[tuple[str, float]]) -> Summary:
    """Numbers by tag."""
    return Summary(value=[Summary.Value(tag=tag, simple_value=number) for tag, number in values])


def text(tag: str, content: str) -> Summary:
    """A text as it is: a block of code to Markdown, in which nothing is marked up and no tag counts, line by line."""
    return text_pb(tag, "\n".join(f"    {line}" for line in content.splitlines()))


def layout(categories: Mapping[str, Mapping[str, Iterable[str]]]) -> Summary:
    """The custom-scalars page: categories, their charts, and each chart's tags."""
    found = layout_pb2.Layout(
        category=[
            layout_pb2.Category(
                title=title,
                chart=[
                    layout_pb2.Chart(
                        title=name, multiline=layout_pb2.MultilineChartContent(tag=[f"^{tag}$" for tag in tags])
                    )
                    for name, tags in charts.items()
                ],
            )
            for title, charts in categories.items()
        ]
    )
    value = Summary.Value(
        tag=layout_metadata.CONFIG_SUMMARY_TAG,
        metadata=layout_metadata.create_summary_metadata(),
        tensor=make_tensor_proto(found.SerializeToString()),
    )
    return Summary(value=[value])


def experiment(
    listed: Mapping[str, bool | int | float | str | None], metrics: Iterable[str], differing: Collection[str] = ()
) -> Summary:
    """What the HPARAMS page compares runs by: hyperparameters with their types, those that differ first, and tags of the metrics.

    TensorBoard's own way to say a type is a domain, which would be the values of one run.
    """
    types = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
    found = api_pb2.Experiment(
        hparam_infos=[
            api_pb2.HParamInfo(
                name=name, type=types.get(type(value), api_pb2.DATA_TYPE_FLOAT64), differs=name in differing
            )
            for name, value in listed.items()
        ],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in metrics],
    )
    content = hparams_metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(experiment=found))
    value = Summary.Value(tag=hparams_metadata.EXPERIMENT_TAG, metadata=content, tensor=hparams_metadata.NULL_TENSOR)
    return Summary(value=[value])
