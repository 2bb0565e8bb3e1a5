"""Pictures of every kind become what the contract says, and what must not be decoded is refused before it is."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from services.model_server.errors import BadRequest, BodyTooLarge
from services.model_server.images import Done, Form, Wishes, draw, form_of, kind_of, read_head
from tests.services.model_server.drawn import PNG, chunk, contract_of, exif, golden_of, jpeg, png, png_of

DIGITS = load_digits()
LIGHT_ON_DARK = DIGITS.images.astype(np.float32)  # 0 to 16


def form(shape: tuple[int, ...], limits: tuple[float, float] | None = (0, 255), **changes: Any) -> Form:
    """The form of a model without a ground: its samples are all over the range."""
    low, high = limits or (0, 255)
    noise = np.random.default_rng(0).uniform(low, high, (4, *shape))
    found = form_of(contract_of(shape, limits, **changes), golden_of(noise.astype(np.float32)))
    assert found is not None
    return found


def read(body: bytes, of: Form, most_pixels: int = 10**6, **wishes: Any) -> tuple[Any, Done]:
    kind = kind_of(body)
    assert kind is not None
    return draw(read_head(body, kind, most_pixels), of, Wishes(**wishes))


GREY = form((2, 3))
COLOUR = form((2, 3, 3))
PIXELS = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)
COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[9, 99, 199], [255, 255, 255], [0, 0, 0]]], np.uint8)
LUMA = np.array([[76, 150, 29], [84, 255, 0]], np.uint8)  # 0.299 R + 0.587 G + 0.114 B


# ---------------------------------------------------------------------------------------------------------------- kinds


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_a_grey_png_of_any_mode_gives_its_pixels(mode: str) -> None:
    values, done = read(png(PIXELS, mode), GREY)
    np.testing.assert_array_equal(values, PIXELS)
    assert done == Done("png", (3, 2), (3, 2), inverted=False, centred=False)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_coloured_png_of_any_mode_gives_its_colours_or_their_lightness(mode: str) -> None:
    values, _ = read(png(COLOURS, mode), COLOUR)
    np.testing.assert_allclose(values, COLOURS, atol=0 if mode != "P" else 60)  # a palette of fixed colours
    if mode != "P":
        np.testing.assert_allclose(read(png(COLOURS, mode), GREY)[0], LUMA, atol=1)


def test_a_black_and_white_png_gives_black_and_white() -> None:
    values, _ = read(png((PIXELS > 127) * 255, "1"), GREY)
    np.testing.assert_array_equal(values, (PIXELS > 127) * 255)


def test_a_png_of_16_bits_is_not_cut_off_at_255() -> None:
    file = io.BytesIO()
    Image.fromarray(PIXELS.astype(np.uint16) * 257).save(file, "PNG")
    np.testing.assert_array_equal(read(file.getvalue(), GREY)[0], PIXELS)
    np.testing.assert_array_equal(read(file.getvalue(), COLOUR)[0][..., 1], PIXELS)


def test_the_colour_that_counts_as_clear_is_clear_at_16_bits_too() -> None:
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 51, 102], [153, 204, 204]], np.uint16) * 257).save(
        file, "PNG", transparency=204 * 257
    )
    np.testing.assert_array_equal(read(file.getvalue(), GREY)[0], [[0, 51, 102], [153, 0, 0]])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_of_any_mode_gives_its_pixels_nearly(mode: str, progressive: bool) -> None:
    flat = np.full((16, 16), 160, np.uint8)
    values, done = read(jpeg(flat, mode, progressive=progressive), form((2, 2)))
    np.testing.assert_allclose(values, 160, atol=2)
    assert (done.kind, done.size, done.resized) == ("jpeg", (16, 16), (2, 2))


def test_a_jpeg_keeps_its_colours() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_allclose(read(jpeg(red), form((2, 2, 3)))[0][0, 0], [200, 0, 0], atol=4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("number", range(1, 9))
def test_a_turned_picture_is_put_upright(number: int, order: str) -> None:
    upright = np.array([[250, 10, 10], [10, 10, 10], [10, 10, 130], [10, 10, 10]], np.uint8)
    back: dict[int, Callable[[Any], Any]] = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(np.transpose(a), 2),
        8: lambda a: np.rot90(a, -1),
    }
    stored = np.ascontiguousarray(back[number](upright))
    values, done = read(png(stored, exif=exif(number, order)), form((4, 3)))
    np.testing.assert_array_equal(values, upright)
    assert done.size == (3, 4)
    large = np.kron(stored, np.ones((16, 16), np.uint8))
    turned = jpeg(large, exif=b"Exif\0\0" + exif(number, order), quality=100)
    np.testing.assert_allclose(read(turned, form((4, 3)))[0], upright, atol=6)


@pytest.mark.parametrize("data", [b"", b"II", b"MM\0*\xff\xff\xff\xff", exif(9), exif(0), exif(6)[:-9], b"\0" * 30])
def test_exif_data_that_says_nothing_right_leaves_a_picture_as_it_lies(data: bytes) -> None:
    with_it = png_of(3, 2, chunk(b"eXIf", data))
    assert read(with_it, GREY)[1].size == (3, 2)


# ------------------------------------------------------------------------------------------------------ size and range


@pytest.mark.parametrize(
    ("shape", "limits", "dtype"),
    [
        ((2, 3), (0, 16), "float32"),
        ((2, 3, 1), (0, 1), "float32"),
        ((2, 3), (-1, 1), "float64"),
        ((2, 3), (0, 16), "uint8"),
        ((2, 3), None, "uint8"),
        ((2, 3), (0, 255), "int32"),
    ],
)
def test_values_are_in_the_range_shape_and_dtype_of_the_contract(
    shape: tuple[int, ...], limits: tuple[float, float] | None, dtype: str
) -> None:
    values, _ = read(png(PIXELS), form(shape, limits, dtype=dtype))
    low, high = limits or (0, 255)
    assert (values.dtype, values.shape) == (np.dtype(dtype), shape)
    wanted = low + PIXELS.astype(float) / 255 * (high - low)
    np.testing.assert_allclose(values.reshape(2, 3), np.rint(wanted) if dtype[0] in "iu" else wanted, rtol=1e-5)


def test_a_contract_may_say_that_rows_of_numbers_are_pictures() -> None:
    values, _ = read(png(PIXELS), form((6,), (0, 255), picture=[2, 3]))
    np.testing.assert_array_equal(values, PIXELS.reshape(-1))


@pytest.mark.parametrize(
    ("shape", "limits", "changes"),
    [
        ((6,), (0, 255), {}),
        ((2, 3, 4), (0, 255), {}),
        ((2, 3, 3, 1), (0, 255), {}),
        ((None, None), (0, 255), {}),
        ((2, 3), None, {}),
    ],
)
def test_what_nobody_calls_a_picture_is_none(shape: Any, limits: Any, changes: Any) -> None:
    sizes = [size or 2 for size in shape]
    assert form_of(contract_of(shape, limits, **changes), golden_of(np.zeros((2, *sizes), np.float32))) is None


def test_a_smaller_picture_is_the_mean_of_its_areas() -> None:
    blocks = np.kron(PIXELS, np.ones((50, 50), np.uint8))
    noise = np.random.default_rng(0).integers(-20, 21, blocks.shape)
    values, done = read(png(np.clip(blocks.astype(int) + noise, 0, 255)), GREY)
    np.testing.assert_allclose(values, PIXELS, atol=9)  # the noise at 0 and 255 is cut
    assert (done.size, done.resized) == ((150, 100), (3, 2))


def test_other_proportions_are_kept_on_the_pictures_own_ground() -> None:
    strip = np.full((10, 40), 80, np.uint8)
    strip[4:6, 18:22] = 240
    values, _ = read(png(strip), form((40, 40)))
    np.testing.assert_array_equal(values[15:25], strip)
    assert (values[:15] == 80).all()
    assert (values[25:] == 80).all()


def test_other_proportions_are_stretched_if_that_is_wished() -> None:
    strip = np.kron(np.array([[0, 200]], np.uint8), np.ones((10, 40), np.uint8))
    values, _ = read(png(strip), form((4, 4)), fit="stretch")
    np.testing.assert_array_equal(values, [[0, 0, 200, 200]] * 4)


@pytest.mark.parametrize(("width", "height"), [(100_000, 1), (1, 100_000), (1, 1), (3, 20_000)])
@pytest.mark.parametrize("wishes", [{}, {"fit": "stretch"}, {"centre": "yes"}])
def test_the_thinnest_pictures_still_give_a_sample(width: int, height: int, wishes: Any) -> None:
    values, done = read(png_of(width, height), GREY, **wishes)
    assert (values.shape, done.size) == ((2, 3), (width, height))


# --------------------------------------------------------------------------------------------------- ground and place


def digits_form() -> Form:
    found = form_of(contract_of((8, 8), (0, 16)), golden_of(LIGHT_ON_DARK[:64]))
    assert found is not None
    return found


def test_training_data_that_is_light_on_dark_says_so_and_photographs_do_not() -> None:
    assert digits_form().ground == "dark"
    turned = form_of(contract_of((8, 8), (0, 16)), golden_of(16 - LIGHT_ON_DARK[:64]))
    assert turned is not None
    assert turned.ground == "light"
    assert GREY.ground is None
    assert COLOUR.ground is None


def test_no_real_digit_is_inverted_by_itself_and_every_negative_is() -> None:
    of = digits_form()
    for sample in LIGHT_ON_DARK[::9]:
        pixels = np.rint(sample * 255 / 16)
        values, done = read(png(pixels), of)
        assert not done.inverted
        np.testing.assert_allclose(values, sample, atol=0.04)
        values, done = read(png(255 - pixels), of)
        assert done.inverted
        np.testing.assert_allclose(values, sample, atol=0.04)


def test_inverting_can_be_wished_and_forbidden() -> None:
    of = digits_form()
    white = np.full((8, 8), 255, np.uint8)
    assert read(png(white), of, invert="no")[0].min() == 16
    assert read(png(white), of, invert="yes")[0].max() == 0
    assert read(png(white), of)[1].inverted
    np.testing.assert_array_equal(read(png(PIXELS), GREY, invert="yes")[0], 255 - PIXELS)
    assert not read(png(white), form((8, 8)))[1].inverted  # a model whose data has no ground


@pytest.mark.parametrize(("ink", "inverted"), [(0, True), (255, False)])
def test_ink_on_nothing_is_light_on_dark_whatever_its_colour(ink: int, inverted: bool) -> None:
    drawn = np.zeros((80, 80, 4), np.uint8)
    drawn[20:60, 35:45] = (ink, ink, ink, 255)
    values, done = read(png(drawn), digits_form())
    assert done.inverted is inverted
    assert values[4, 4] > 7.9
    assert values[0].max() == 0


def test_light_ground_is_the_mirror_of_dark_ground() -> None:
    light = form_of(contract_of((8, 8), (0, 16)), golden_of(16 - LIGHT_ON_DARK[:64]))
    assert light is not None
    sheet = np.zeros((90, 120), np.uint8)
    sheet[20:60, 80:88] = 255
    for centre in ("no", "yes"):
        on_dark, done = read(png(sheet), digits_form(), centre=centre)
        assert not done.inverted
        for picture, inverted in ((255 - sheet, False), (sheet, True)):
            values, done = read(png(picture), light, centre=centre)
            assert done.inverted is inverted
            np.testing.assert_allclose(values, 16 - on_dark, atol=1e-4)


def test_what_is_clear_is_black_where_nobody_knows_better() -> None:
    half = np.full((2, 3, 4), 200, np.uint8)
    half[..., 3] = [[0, 128, 255]] * 2
    np.testing.assert_allclose(read(png(half), GREY)[0], [[0, 100, 200]] * 2, atol=1)
    np.testing.assert_allclose(read(png(half), GREY, invert="yes")[0], [[0, 27, 55]] * 2, atol=2)  # white paper


def test_a_drawing_anywhere_is_centred_as_the_training_data_is() -> None:
    """A digit of a seventh of the sheet, in a corner: only with `centre` its place and size are those of the data."""
    of, near, far = digits_form(), [], []
    for sample in LIGHT_ON_DARK[100:160]:
        digit = Image.fromarray(np.rint(sample * 255 / 16).astype(np.uint8)).resize(
            (120, 120), Image.Resampling.BICUBIC
        )
        sheet = Image.new("L", (800, 600), 0)
        sheet.paste(digit, (640, 30))
        body = png(255 - np.asarray(sheet))
        values, done = read(body, of, centre="yes")
        assert (done.centred, done.inverted) == (True, True)
        near.append(float(np.abs(values - sample).mean()))
        far.append(float(np.abs(read(body, of)[0] - sample).mean()))
    assert np.mean(near) < 2  # of 16
    assert np.mean(far) > 3


def sheet_of(digit: Any, share: float, at: tuple[float, float] = (0.5, 0.5)) -> bytes:
    """A digit as PNG, on `share` of the sides of a sheet of 160 pixels; `at` says where the room around it is."""
    side = round(160 * share)
    drawn = Image.fromarray((digit * 255 / 16).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    sheet = Image.new("L", (160, 160))
    sheet.paste(drawn, (round(at[1] * (160 - side)), round(at[0] * (160 - side))))
    return png(np.asarray(sheet))


@pytest.mark.parametrize("ground", ["dark", "light"])
def test_a_drawing_that_is_small_or_off_the_middle_is_astray_and_no_real_digit_is(ground: str) -> None:
    samples = LIGHT_ON_DARK if ground == "dark" else 16 - LIGHT_ON_DARK
    found = form_of(contract_of((8, 8), (0, 16)), golden_of(samples[:16]))
    assert found is not None
    for digit in LIGHT_ON_DARK[:300]:
        assert not read(png((digit if ground == "dark" else 16 - digit) * 255 / 16), found)[1].astray
        assert not read(sheet_of(digit, 1), found)[1].astray  # auto inverts it where that is needed
    small = [read(sheet_of(digit, 0.7), found)[1].astray for digit in LIGHT_ON_DARK[:300]]
    assert all(small)
    for digit in LIGHT_ON_DARK[:50]:
        body = sheet_of(digit, 0.4, (0.1, 0.9))
        assert read(body, found)[1].astray
        centred = read(body, found, centre="yes")[1]
        assert (centred.centred, centred.astray) == (True, False)


def test_what_shows_nothing_and_what_has_no_ground_is_not_astray() -> None:
    found = form_of(contract_of((8, 8), (0, 16)), golden_of(LIGHT_ON_DARK[:16]))
    assert found is not None
    assert not read(png(np.zeros((40, 40))), found)[1].astray
    assert not read(sheet_of(LIGHT_ON_DARK[0], 0.2), form((8, 8)))[1].astray
    assert not read(sheet_of(LIGHT_ON_DARK[0], 0.2), form((8, 8, 3)))[1].astray


def test_an_empty_sheet_has_nothing_to_centre() -> None:
    values, done = read(png(np.zeros((50, 50))), digits_form(), centre="yes")
    assert not done.centred
    assert not values.any()


# ------------------------------------------------------------------------------------------------------ what is refused

HEAD = PNG + chunk(b"IHDR", bytes.fromhex("00000003000000020800000000"))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (PNG, "cut off"),
        (png(PIXELS)[:-12], "cut off"),
        (png(PIXELS)[:40], "cut off"),
        (PNG + chunk(b"IDAT", b""), "begin with it"),
        (HEAD + HEAD[8:], "one head"),
        (PNG + chunk(b"IHDR", b"\0" * 12), "another length"),
        (PNG + chunk(b"IHDR", b"\0" * 13), "no pixels"),
        (png_of(3, 2, depth=3), "no PNG can be"),
        (png_of(3, 2, chunk(b"acTL", bytes(8))), "animated"),
        (png_of(3, 2, chunk(b"CgBI", bytes(4))), "no decoder here knows"),
        (png_of(3, 2, *[chunk(b"teXt", b"")] * 17_000), "parts"),
        (HEAD + chunk(b"IDAT", b"no zlib") + chunk(b"IEND", b""), "damaged"),
        (png_of(3, 2, colours=3), "no palette"),
        (b"\xff\xd8\xff", "cut off"),
        (b"\xff\xd8\xff\xff\xff\xff", "cut off"),
        (b"\xff\xd8" + b"\xff" * 10**6, "damaged|cut off"),
        (b"\xff\xd8\xff\xe0\xff\xff", "cut off"),
        (b"\xff\xd8\xff\xe0\0\0aaaa", "damaged"),
        (b"\xff\xd8\xff\xd9\0\2", "damaged"),
        (b"\xff\xd8\xff\xda\0\2", "no head"),
        (b"\xff\xd8\xff\xc3\0\2", "lossless"),
        (b"\xff\xd8\xff\xc0\0\2", "damaged"),
        (b"\xff\xd8\xff\xc0\0\x08\x0c\0\2\0\3\1", "12 bits"),
        (b"\xff\xd8\xff\xc0\0\x08\x08\0\0\0\3\1", "no picture"),
        (b"\xff\xd8" + b"\xff\xfe\0\2" * 1200, "parts"),
        (jpeg(PIXELS)[:-40], "cut off"),
        (jpeg(np.zeros((64, 64)), quality=100)[:-40], "damaged or cut off"),
        (jpeg(PIXELS) + b"\xff\xda" * 70, "scans"),
    ],
)
def test_what_is_damaged_animated_or_strange_is_refused_with_a_sentence(body: bytes, told: str) -> None:
    with pytest.raises(BadRequest, match=told) as caught:
        read(body, GREY)
    assert len(str(caught.value)) <= 256


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (1001, 1000)])
def test_a_picture_of_too_many_pixels_is_refused_by_its_head(size: tuple[int, int]) -> None:
    with pytest.raises(BodyTooLarge, match="MODEL_SERVER_MAX_PIXELS"):
        read(png_of(*size, rows=0), GREY)


def test_texts_profiles_and_thumbnails_never_reach_the_decoder() -> None:
    bomb = chunk(b"zTXt", b"x\0\0" + b"\x78\xda" + bytes(100)) + chunk(b"iCCP", b"x\0\0" + bytes(100))
    head = read_head(png_of(3, 2, bomb), "png", 100)
    assert head.content == png_of(3, 2)
    plain, loaded = jpeg(PIXELS), jpeg(PIXELS, comment=b"c" * 500, icc_profile=b"i" * 500, exif=b"Exif\0\0" + exif(1))
    assert len(loaded) > len(plain) + 1000
    assert read_head(loaded, "jpeg", 100).content == read_head(plain, "jpeg", 100).content
