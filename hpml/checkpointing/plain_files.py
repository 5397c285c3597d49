"""Between Lightning and its files: plain types on writing, and as they were on reading."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.fabric.plugins import CheckpointIO, XLACheckpointIO
from lightning.pytorch.strategies import Strategy

from hpml.checkpointing.plain_types import NotPlainError, plain_checkpoint, rebuilt


class _Between(CheckpointIO):
    """Stands in a strategy's way to its files, to which it hands all on."""

    def __init__(self, strategy: Strategy) -> None:
        self.files = strategy.checkpoint_io

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        self.files.save_checkpoint(checkpoint, path, storage_options=storage_options)

    def load_checkpoint(self, path: Any, *arguments: Any, **settings: Any) -> dict[str, Any]:
        return self.files.load_checkpoint(path, *arguments, **settings)

    def remove_checkpoint(self, path: Any) -> None:
        self.files.remove_checkpoint(path)

    def teardown(self) -> None:
        self.files.teardown()


class _Written(_Between):
    def __init__(self, strategy: Strategy, tell: Callable[[str], None]) -> None:
        super().__init__(strategy)
        self.tell = tell

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        try:
            checkpoint, left_out = plain_checkpoint(checkpoint, complete=False)
        except NotPlainError as error:
            self.tell(f"will not load again: {error}")
        else:
            if left_out:
                self.tell(f"leaves out what is no plain type: {'; '.join(left_out)}")
        super().save_checkpoint(checkpoint, path, storage_options)


class _ReadAlready(_Between):
    def __init__(self, strategy: Strategy, content: dict[str, Any]) -> None:
        super().__init__(strategy)
        self.strategy, self.content = strategy, content

    def load_checkpoint(self, path: Any, *arguments: Any, **settings: Any) -> dict[str, Any]:
        """Once: what is written and read from now on is another matter."""
        self.strategy.checkpoint_io = self.files
        content, self.content = self.content, {}
        return content


@contextmanager
def written_in_plain_types(strategy: Strategy, tell: Callable[[str], None]) -> Iterator[None]:
    """Within it, checkpoints load with `weights_only=True`; `tell` hears what they leave out."""
    if isinstance(strategy.checkpoint_io, XLACheckpointIO):  # which lets nothing stand in its way
        yield
        return
    between = _Written(strategy, tell)
    strategy.checkpoint_io = between
    try:
        yield
    finally:
        strategy.checkpoint_io = between.files


def hand_over(strategy: Strategy, content: dict[str, Any]) -> None:
    """Has a Trainer's fit resume from a checkpoint that was read, in plain types, already.

    The Trainer gets all of it, and nobody else keeps it in memory. Raises what `rebuilt` raises.
    """
    strategy.checkpoint_io = _ReadAlready(strategy, dict(rebuilt(content)))
    content.clear()
