"""Random folders of images: every file of any kind, damaged, misplaced or misnamed.

A folder is refused in one line, or all that it holds can be decoded: nothing else, and no hang.
"""

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from helpers.image_kinds import REFUSED, WHOLE

from hpml.data import ImageFolder
from hpml.errors import DataError

pytestmark = [pytest.mark.stress, pytest.mark.timeout(1200)]

FILES = {**WHOLE, **REFUSED}
SPLITS = ("train", "test", "val", "training", "validation", "Train", "images", "test/images", "")
CLASSES = ("cat", "dog", "0", "ü", ".hidden", "cat/images", "a b", "")
OTHERS = {
    "labels.csv": b"a,b\n",
    "desktop.ini": b"",
    "Thumbs.db": b"\0",
    "x.jfif": b"",
    ".jpg": b"",
}


def damaged(content: bytes, dice: random.Random) -> bytes:
    """As it is, cut short, with a tail, with other bytes within, or empty."""
    at = dice.randrange(1 + len(content))
    return dice.choice(
        (
            content,
            content,
            content[:at],
            content + dice.randbytes(dice.choice((1, 100))),
            content[:at] + dice.randbytes(3) + content[at + 3 :],
            b"",
        )
    )


def a_folder(root: Path, dice: random.Random) -> None:
    """Splits and classes that may fit each other, with files as whole as `wholeness` has it."""
    wholeness = dice.choice((0.5, 0.98, 1.0, 1.0))
    usual = dice.random() < 0.7
    splits = ["train", dice.choice(("test", "val"))] if usual else dice.sample(SPLITS, 3)
    for split in splits:
        for name in ("cat", "dog") if usual else dice.sample(CLASSES, dice.randrange(4)):
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(dice.choice((1, 4))):
                kind = dice.choice(sorted(WHOLE))
                content = FILES[kind]
                if dice.random() > wholeness:
                    content = damaged(FILES[dice.choice(sorted(FILES))], dice)
                suffix = Path(kind).suffix if dice.random() < 0.9 else dice.choice((".jpg", ".txt"))
                (folder / f"{number}{suffix}").write_bytes(content)
            if dice.random() < 0.2:
                odd = dice.choice(sorted(OTHERS))
                (folder / odd).write_bytes(OTHERS[odd])
    if dice.random() < 0.1:
        (root / dice.choice(("train", "cat.jpg", "x"))).with_suffix(".png").mkdir(exist_ok=True)


def settings_of(dice: random.Random) -> dict[str, object]:
    return {
        "batch_size": 1,
        "image_size": dice.choice((None, 8, 8, 8)),
        "in_memory": dice.random() < 0.3,
        "exif": dice.choice(("apply", "ignore")),
        "background": dice.choice((None, (255, 255, 255))),
        "val_split": dice.choice((0.0, 0.3)),
    }


def test_a_folder_of_images_is_refused_in_a_line_or_decoded(tmp_path: Path) -> None:
    """What passes the look at the files is decoded, but for damage that only decoding finds."""
    dice, outcomes, amiss = random.Random(0), Counter[str](), []
    for number in range(600):
        root = tmp_path / "images"
        root.mkdir()
        a_folder(root, dice)
        settings = settings_of(dice)
        try:
            data = ImageFolder(root=root, mean=[0.5] * 3, std=[0.5] * 3, **settings)
            data.setup()
            for split in filter(None, (data.train, data.val, data.test)):
                split.source.fetch(split.indices)
            outcomes["decoded"] += 1
        except DataError as error:
            outcomes["refused"] += 1
            if "\n" in str(error) or not str(error).isprintable() or len(str(error)) > 1000:
                amiss.append(f"{number}: {settings}: {error}")
        except Exception as error:
            amiss.append(f"{number}: {settings}: {type(error).__name__}: {str(error)[:150]}")
        shutil.rmtree(root)
    print(outcomes)
    assert not amiss, "\n" + "\n".join(amiss)
    assert min(outcomes["decoded"], outcomes["refused"]) > 50
