from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.datasets import image_folder
from pipelines.datasets.image_folder import ImageFolder
from pipelines.errors import DataError
from pipelines.tasks import Task

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "fashion-mnist-900"
ORIENTATION = 274
"""The tag in which a camera says how it was held."""

Paint = Callable[..., Path]


@pytest.fixture
def paint(tmp_path: Path) -> Paint:
    """Writes an image, of one grey value unless it is given."""

    def paints(name: str, image: PIL.Image.Image | NDArray[Any] | int = 7, **options: Any) -> Path:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(image, int):
            image = np.full((4, 4), image, np.uint8)
        if isinstance(image, np.ndarray):
            image = PIL.Image.fromarray(image)
        image.save(path, **options)
        return path

    return paints


def spec(path: Path | str, size: tuple[int, int] = (4, 4), color: str = "grey", **settings: Any) -> ImageFolder:
    return ImageFolder.model_validate({"path": str(path), "image_size": size, "color": color, **settings})


def read(path: Path, size: tuple[int, int], color: str) -> NDArray[Any]:
    """One image, through the folder that it stands in."""
    (path.parent.parent / "other").mkdir(exist_ok=True)
    PIL.Image.new("L", (1, 1)).save(path.parent.parent / "other" / "x.png")
    source = spec(path.parent.parent, size, color).load(None)
    return source.samples.x[int(np.flatnonzero(source.samples.y == source.facts.labels.index(path.parent.name))[0])]


def test_folders_are_classes_and_files_stand_in_the_order_of_their_names(paint: Paint, tmp_path: Path) -> None:
    for place, name in enumerate(("dog/b.png", "cat/z.PNG", "cat/a.bmp", "dog/10/c.png", "cat/B.gif", "dog/9.png")):
        paint(name, place * 10)
    source = spec(tmp_path / "images").load(None)
    assert source.facts.labels == ("cat", "dog")
    assert source.samples.x[:][:, 0, 0].tolist() == [40, 20, 10, 30, 50, 0]
    assert source.samples.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.samples.y.dtype == np.int64
    assert source.official_test is None
    assert (source.facts.low, source.facts.high, source.facts.shape) == (0.0, 255.0, (4, 4))


def test_hidden_files_and_what_windows_leaves_are_passed_over(paint: Paint, tmp_path: Path) -> None:
    for name in ("cat/a.png", "dog/a.png"):
        paint(name)
    for name in ("cat/.DS_Store", "cat/Thumbs.db", "README.txt", "dog/.cache/x.txt", ".git/config", "dog/desktop.ini"):
        path = tmp_path / "images" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("no image")
    assert len(spec(tmp_path / "images").load(None).samples) == 2


def test_train_and_test_folders_are_parts(paint: Paint, tmp_path: Path) -> None:
    for name, value in (("train/cat/a.png", 1), ("train/dog/a.png", 2), ("train/eel/a.png", 3), ("test/eel/a.png", 4)):
        paint(name, value)
    source = spec(tmp_path / "images").load(None)
    assert source.official_test is not None
    assert source.facts.labels == ("cat", "dog", "eel")
    assert source.samples.x[:][:, 0, 0].tolist() == [1, 2, 3]
    assert source.official_test.x[:][:, 0, 0].tolist() == [4]
    assert source.official_test.y.tolist() == [2]


def test_only_what_is_asked_for_is_decoded(paint: Paint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in range(6):
        paint(f"{'cat' if place < 3 else 'dog'}/{place}.png", place)
    decoded: list[str] = []
    decode = image_folder._decode

    def noted(path: Path, *rest: Any) -> NDArray[np.uint8]:
        decoded.append(path.stem)
        return decode(path, *rest)

    monkeypatch.setattr(image_folder, "_decode", noted)
    images = spec(tmp_path / "images").load(None).samples.x
    assert (images.shape, images.dtype, len(images), decoded) == ((6, 4, 4), np.uint8, 6, [])
    assert images[np.array([4, 1])][:, 0, 0].tolist() == [4, 1]
    assert sorted(decoded) == ["1", "4"]
    assert images[2:4][:, 0, 0].tolist() == [2, 3]
    assert images[-1][0, 0] == 5
    assert sorted(decoded) == ["1", "2", "3", "4", "5"]


def test_an_image_is_stretched_to_the_size(paint: Paint) -> None:
    wide = np.repeat(np.array([[0, 255]], np.uint8), 8, axis=1)
    found = read(paint("a/x.png", np.repeat(wide, 2, axis=0)), (4, 4), "grey")  # from (2, 16)
    assert found[:, 0].tolist() == [0] * 4
    assert found[:, 3].tolist() == [255] * 4


@pytest.mark.parametrize(
    ("image", "suffix", "options", "color", "wanted"),
    [
        (PIL.Image.new("RGB", (1, 1), (10, 20, 30)), "png", {}, "rgb", [[[10, 20, 30]]]),
        (PIL.Image.new("RGB", (1, 1), (255, 0, 0)), "png", {}, "grey", [[76]]),
        (PIL.Image.new("L", (1, 1), 9), "bmp", {}, "rgb", [[[9, 9, 9]]]),
        (PIL.Image.new("1", (1, 1), 1), "png", {}, "grey", [[255]]),
        (PIL.Image.new("RGBA", (1, 1), (255, 0, 0, 0)), "png", {}, "rgb", [[[255, 255, 255]]]),
        (PIL.Image.new("RGBA", (1, 1), (255, 0, 0, 255)), "png", {}, "rgb", [[[255, 0, 0]]]),
        (PIL.Image.new("RGBA", (1, 1), (0, 0, 0, 128)), "png", {}, "rgb", [[[127, 127, 127]]]),
        (PIL.Image.new("LA", (1, 1), (0, 0)), "png", {}, "grey", [[255]]),
        (PIL.Image.new("P", (1, 1), 0), "png", {"transparency": 0}, "grey", [[255]]),
        (PIL.Image.new("P", (1, 1), 0), "gif", {"transparency": 0}, "grey", [[255]]),
        (PIL.Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "jpg", {"quality": 95}, "rgb", [[[0, 255, 255]]]),
        (PIL.Image.fromarray(np.array([[65535]], np.uint16)), "png", {}, "grey", [[255]]),
        (PIL.Image.fromarray(np.array([[257 * 40]], np.uint16)), "png", {}, "rgb", [[[40, 40, 40]]]),
    ],
)
def test_images_of_any_mode_come_in_8_bits_on_white(
    paint: Paint, image: PIL.Image.Image, suffix: str, options: dict[str, Any], color: str, wanted: list[Any]
) -> None:
    found = read(paint(f"a/x.{suffix}", image, **options), (1, 1), color)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found.astype(int), wanted, atol=3 if suffix == "jpg" else 0)


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [(1, lambda x: x), (3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1)), (8, lambda x: np.rot90(x))],
)
def test_an_image_is_turned_as_its_camera_was_held(
    paint: Paint, orientation: int, turn: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    image = np.add.outer(np.arange(16) * 2, np.arange(32) * 7).astype(np.uint8)
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    wanted = turn(image)
    found = read(paint("a/x.jpg", image, exif=exif.tobytes(), quality=100), (wanted.shape[0], wanted.shape[1]), "grey")
    np.testing.assert_allclose(found.astype(int), wanted, atol=4)


def test_a_large_photograph_is_the_same_as_decoded_whole(paint: Paint) -> None:
    image = np.add.outer(np.arange(600) / 5, np.arange(800) / 6).astype(np.uint8)
    path = paint("a/x.jpg", image, quality=95)
    whole = np.asarray(PIL.Image.open(path).resize((20, 15), PIL.Image.Resampling.BILINEAR), int)
    np.testing.assert_allclose(read(path, (15, 20), "grey").astype(int), whole, atol=3)


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: b"<html>404</html>", lambda content: content[: len(content) // 2]],
    ids=["empty", "a web page", "cut"],
)
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp"])
def test_a_broken_image_is_named_when_it_is_asked_for(
    paint: Paint, tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes]
) -> None:
    paint("cat/a.png")
    path = paint(f"dog/b.{suffix}", np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8))
    path.write_bytes(damage(path.read_bytes()))
    images = spec(tmp_path / "images").load(None).samples.x
    assert images[:1].shape == (1, 4, 4)
    with pytest.raises(DataError) as caught:
        images[:]
    assert str(caught.value).startswith(f"{path} holds no image that can be read (")


LAYOUTS: list[tuple[list[str], Task | None, str]] = [
    # files (a folder ends in /), task, the sentence
    ([], None, "{root} has no folders. Make one a class, named as the class, and put the images there."),
    (["a.png"], None, "{root} has no folders, but images of its own. Make one a class"),
    (["cat/a.png"], None, "{root} has one class alone, 'cat': there is nothing to tell apart."),
    (["cat/a.png", "dog/"], None, "{root}/dog has no images. Every folder in {root} is a class and needs some."),
    (["cat/a.png", "dog/a.txt"], None, "{root}/dog/a.txt is none of .png, .jpg, .jpeg, .bmp, .gif. Convert"),
    (["cat/a.png", "dog/x/a.webp"], None, "{root}/dog/x/a.webp is none of .png"),
    (["train/cat/a.png", "train/dog/a.png"], None, "{root} has a folder `train` alone; it needs one a class"),
    (["train/cat/a.png", "test/cat/a.png", "val/cat/a.png"], None, "{root} has `train` and `test`, and also val."),
    (["train/cat/a.png", "train/dog/a.png", "test/dgo/a.png"], None, "test has the class 'dgo', which {root}/train"),
    (["train/cat/a.png", "train/dog/a.png", "test/dgo/a.png"], None, "lacks; did you mean 'dog'? The test part holds"),
    (["train/cat/a.png", "test/cat/a.png"], None, "{root}/train has one class alone, 'cat'"),
    (["train/a.png", "test/cat/a.png"], None, "{root}/train has no folders, but images of its own."),
    (["a/a.png", "b/a.png", "c/a.png"], Task.BINARY, "`task: binary` needs two classes; {root} has 3: a, b, c."),
    (["a/a.png", "b/a.png"], Task.REGRESSION, "`task: regression` predicts a number, and the folders"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "task", "sentence"), LAYOUTS)
def test_a_layout_that_is_none_is_told(
    paint: Paint, tmp_path: Path, files: list[str], task: Task | None, sentence: str
) -> None:
    root = tmp_path / "images"
    root.mkdir()
    for name in files:
        if name.endswith("/"):
            (root / name).mkdir(parents=True)
        elif name.endswith(".png"):
            paint(name)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("no image")
    with pytest.raises(DataError) as caught:
        spec(root).load(None, task)
    assert sentence.format(root=root) in str(caught.value)


def test_a_file_in_place_of_the_folder_is_told(paint: Paint, tmp_path: Path) -> None:
    path = paint("a.png")
    with pytest.raises(DataError, match=r"a\.png is a file; image_folder reads a folder with one folder a class"):
        spec(path).load(None)
    with pytest.raises(DataError, match=r"The data 'pets' was not found"):
        spec("pets").load(tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": [28]}, "at least 2 items"),
        ({"image_size": [28, 28, 3]}, "at most 2 items"),
        ({"image_size": [0, 28]}, "must be [height, width], each from 1 to 4096, got [0, 28]"),
        ({"image_size": [28, 5000]}, "got [28, 5000]"),
        ({"color": "gray"}, "'grey' or 'rgb'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ImageFolder.model_validate({"path": "pets", "image_size": [28, 28], **settings})
    assert words in str(caught.value)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real files are not at {REAL}")
def test_real_pictures_come_back_from_png_as_they_were(tmp_path: Path) -> None:
    from pipelines.datasets.fashion_mnist import FashionMnist

    real = FashionMnist().load(REAL).samples
    for place in range(60):
        folder = tmp_path / f"{real.y[place]}"
        folder.mkdir(exist_ok=True)
        PIL.Image.fromarray(real.x[place]).save(folder / f"{place:03}.png")
    order = sorted(range(60), key=lambda place: (str(real.y[place]), place))
    source = spec(tmp_path, (28, 28)).load(None)
    np.testing.assert_array_equal(source.samples.x[:], real.x[np.array(order)])
