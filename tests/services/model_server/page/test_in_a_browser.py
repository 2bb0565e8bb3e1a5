"""The page in a real browser: what people do with it works, by mouse, touch and keyboard, wide and narrow."""

from __future__ import annotations

import json
import re
import subprocess
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from sklearn.datasets import load_digits

from services.model_server.settings import Ref
from tests.services.model_server.page.conftest import DEADLINE_S, Host, Look, Packages, previous
from tests.services.model_server.page.strokes import DIGITS, Stroke, dense
from tests.services.model_server.parts import FolderStore, flip_byte, golden_arrays

pytestmark = pytest.mark.end_to_end


def draw(page: Any, strokes: list[Stroke], steps: int = 1) -> None:
    """Draws with the mouse, which goes from point to point in so many steps; the page asks the server after each."""
    box = page.locator(".pad canvas").bounding_box()
    for stroke in strokes:
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=steps)
        page.mouse.up()


def wait_label(page: Any, label: str, panel: int = 0) -> None:
    expect(page.locator(".told strong").nth(panel)).to_have_text(label, timeout=DEADLINE_S * 1000)


def wait_answer(page: Any) -> str:
    """Waits for the answer and returns its label or value."""
    expect(page.locator(".time").first).to_contain_text("there and back", timeout=DEADLINE_S * 1000)
    text: str = page.locator(".told strong").first.inner_text()
    return text


def png(image: Any, side: int = 160, invert: bool = False) -> bytes:
    """A digit of the data (0 to 16) as a large picture."""
    pixels = np.asarray(image * 255 / 16, dtype=np.uint8)
    picture = Image.fromarray(255 - pixels if invert else pixels).resize((side, side), Image.Resampling.BICUBIC)
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


# -------------------------------------------------------------------------------------------------------------- drawing


@pytest.mark.parametrize("digit", ["0", "7", "2", "3"])
def test_a_digit_drawn_with_the_mouse_is_read(host: Host, look: Look, digit: str) -> None:
    page = look(host.url)
    page.locator(".panel").wait_for()

    draw(page, DIGITS[digit][-1])

    wait_label(page, digit)
    best = page.locator(".bars .best")
    assert best.locator(".label").inner_text() == digit
    assert page.locator(".bars .label").all_inner_texts() == [str(label) for label in range(10)]
    assert re.search(r"in the model · .* in the server · .* there and back", page.locator(".time").inner_text())


def test_the_bars_are_live_while_the_pen_is_down(host: Host, look: Look) -> None:
    page = look(host.url)
    page.locator(".panel").wait_for()
    box = page.locator(".pad canvas").bounding_box()

    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 110, box["y"] + 250, steps=10)

    assert wait_answer(page) != "–"
    page.mouse.up()


def test_where_and_how_large_a_digit_is_drawn_does_not_matter(host: Host, look: Look) -> None:
    page = look(host.url)
    page.locator(".panel").wait_for()
    small = [[(0.62 + 0.3 * x, 0.05 + 0.35 * y) for x, y in dense(stroke)] for stroke in DIGITS["2"][0]]

    draw(page, small)
    wait_label(page, "2")

    page.get_by_label("Fit to the frame").uncheck()
    expect(page.locator(".told strong")).not_to_have_text("2")


def test_undo_and_clear_take_back_what_was_drawn(host: Host, look: Look) -> None:
    page = look(host.url)
    page.locator(".panel").wait_for()
    undo, clear = page.get_by_role("button", name="Undo"), page.get_by_role("button", name="Clear")
    assert undo.is_disabled()
    assert clear.is_disabled()

    draw(page, DIGITS["0"][0])
    wait_label(page, "0")
    clear.click()
    wait_label(page, "–")
    undo.click()
    wait_label(page, "0")
    undo.click()
    wait_label(page, "–")
    assert page.locator(".hint").is_visible()


def test_a_finger_draws_without_moving_the_page(host: Host, look: Look) -> None:
    page = look(host.url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.locator(".panel").wait_for()
    box = page.locator(".pad canvas").bounding_box()
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    for stroke in DIGITS["7"][1]:
        points = dense(stroke, 0.05)
        touch("touchStart", points[0])
        for point in points[1:]:
            touch("touchMove", point)
        touch("touchEnd")

    wait_label(page, "7")
    assert page.evaluate("scrollY") == 0


# ------------------------------------------------------------------------------------------------- pictures and samples


@pytest.mark.parametrize("invert", [False, True], ids=["light on dark", "dark on light"])
def test_a_dropped_picture_goes_to_the_server_as_the_file_itself(host: Host, look: Look, invert: bool) -> None:
    page = look(host.url)
    page.locator(".panel").wait_for()
    image, label = load_digits().images[13], str(load_digits().target[13])

    with page.expect_request(lambda sent: "/predict/digits" in sent.url) as sent:
        page.evaluate(
            """([bytes, name]) => {
              const data = new DataTransfer();
              data.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/png' }));
              for (const kind of ['dragover', 'drop']) {
                const event = new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
                document.body.dispatchEvent(event);
              }
            }""",
            [list(png(image, invert=invert)), "digit.png"],
        )

    wait_label(page, label)
    assert sent.value.headers["content-type"] == "image/png"
    assert f"invert={'yes' if invert else 'no'}" in sent.value.url
    assert page.get_by_label("Light and dark swapped").is_checked() == invert
    expect(page.locator("#command code")).to_contain_text("--data-binary '@digit.png'")


def test_a_pasted_picture_is_asked(host: Host, look: Look) -> None:
    page = look(host.url)
    page.locator(".panel").wait_for()
    image, label = load_digits().images[0], str(load_digits().target[0])

    page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], 'image.png', { type: 'image/png' }));
          document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }));
        }""",
        list(png(image)),
    )

    wait_label(page, label)


def test_a_model_of_colour_images_is_drawn_for_in_colour(
    host: Host, look: Look, registry: FolderStore, packages: Packages
) -> None:
    registry.add(packages["colour"], "colour", "1")
    page = look(host.url, "colour")
    page.locator(".panel").wait_for()
    page.get_by_label("Width of the brush").fill("0.25")
    page.get_by_label("Colour of the brush").fill("#ff0000")

    with page.expect_request(lambda sent: "/predict/colour" in sent.url) as sent:
        draw(page, [[(0.1, 0.1), (0.9, 0.9), (0.1, 0.9), (0.9, 0.1)]])
    wait_answer(page)
    inputs = np.array(json.loads(sent.value.post_data)["inputs"])
    assert inputs.shape == (3, 2, 3)

    page.get_by_role("button", name="Show what mattered").click()
    page.locator(".heat canvas").wait_for()


def test_a_model_of_anything_else_takes_its_numbers_as_json(
    host: Host, look: Look, registry: FolderStore, packages: Packages
) -> None:
    registry.add(packages["vector"], "vector", "1")
    page = look(host.url, "vector", troubles=True)
    field = page.get_by_label("One sample as JSON: 6")
    field.wait_for()
    wait_answer(page)
    page.get_by_role("button", name="Show what mattered").click()
    page.locator(".heat canvas").wait_for()

    field.fill("[1, 2, 3")
    page.get_by_text("This is not JSON yet.").wait_for()
    field.fill("[1, 2, 3]")
    page.get_by_text("this model takes (N, 6)").first.wait_for()
    field.fill("[16, 2, 3, 0, 0, 1]")
    expect(page.locator(".panel .warning")).to_be_hidden()


def test_a_chosen_file_that_is_no_picture_is_refused_in_a_sentence(host: Host, look: Look) -> None:
    page = look(host.url)
    page.locator(".panel").wait_for()

    page.get_by_label("Choose a picture").set_input_files(
        {"name": "words.png", "mimeType": "image/png", "buffer": b"these are words"}
    )

    page.get_by_text("“words.png” is no picture that a browser can read").wait_for()


def test_a_golden_sample_is_asked_by_a_click_and_marked_right_or_wrong(
    host: Host, look: Look, packages: Packages
) -> None:
    golden = golden_arrays(packages["digits-2"])
    said, true = golden["outputs"].argmax(axis=1), golden["labels"]
    right, wrong = int(np.flatnonzero(said == true)[0]), int(np.flatnonzero(said != true)[0])
    page = look(host.url)
    page.locator("#gallery button").first.wait_for()
    assert page.locator("#gallery button").count() == 16
    mark = page.locator(".panel .mark")

    page.get_by_role("button", name=f"Sample {right}: truly {true[right]}, answered right").click()
    expect(mark).to_have_text("✓ right")
    wait_label(page, str(true[right]))

    page.get_by_role("button", name=f"Sample {wrong}: truly {true[wrong]}, answered {said[wrong]}").click()
    expect(mark).to_have_text(f"✗ truly {true[wrong]}")
    wait_label(page, str(said[wrong]))


def test_the_mistakes_of_a_version_are_marked_in_its_gallery(
    host: Host, look: Look, registry: FolderStore, packages: Packages
) -> None:
    wrong = golden_arrays(packages["digits-1"])
    mistakes = int((wrong["outputs"].argmax(axis=1) != wrong["labels"]).sum())
    assert mistakes
    registry.aliases[Ref("digits", "champion")] = "1"
    page = look(host.url)

    page.get_by_text(f"version 1 gets {16 - mistakes} of them right").wait_for()

    assert page.locator("#gallery button.off").count() == mistakes


def test_what_mattered_is_shown_and_follows_the_drawing(host: Host, look: Look) -> None:
    page = look(host.url)
    page.locator(".panel").wait_for()
    button = page.get_by_role("button", name="Show what mattered")
    assert button.is_disabled()
    draw(page, DIGITS["3"][0])
    wait_label(page, "3")

    button.click()
    heat = page.locator(".heat canvas")
    heat.wait_for()
    assert re.match(r"(Most of what speaks for 3|No single part)", heat.get_attribute("aria-label"))
    pixels = heat.evaluate(
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let warm = 0;"
        "for (let i = 0; i < d.length; i += 4) warm += d[i] > d[i + 2] + 20; return warm; }"
    )
    assert pixels > 100

    page.get_by_role("button", name="Clear").click()
    heat.wait_for(state="detached")


# ------------------------------------------------------------------------------------------------- versions and servers


def test_champion_and_previous_answer_side_by_side(host: Host, look: Look, registry: FolderStore) -> None:
    previous(registry, "digits", "1")
    page = look(host.url)
    page.locator(".panel").nth(1).wait_for()

    draw(page, DIGITS["0"][0])
    wait_label(page, "0")

    expect(page.locator(".who")).to_have_text(["Version 2champion", "Version 1previous"])
    page.get_by_text(re.compile("Both say 0|They disagree: version 2 says 0, version 1 says")).wait_for()


def test_a_new_champion_takes_over_within_three_seconds_and_the_drawing_stays(
    host: Host, look: Look, registry: FolderStore, packages: Packages
) -> None:
    page = look(host.url)
    page.locator(".panel").wait_for()
    draw(page, DIGITS["0"][0])
    wait_label(page, "0")

    registry.add(packages["digits-1"], "digits", "3")
    expect(page.locator(".who").first).to_contain_text("Version 3", timeout=3000)

    wait_answer(page)
    assert page.locator(".pad .hint").is_hidden()
    assert page.locator("#state b").inner_text() == "3"


def test_the_page_says_since_when_the_champion_is_one_or_when_it_was_loaded(
    host: Host, look: Look, registry: FolderStore
) -> None:
    page = look(host.url, timezone_id="Europe/Berlin", locale="en-GB")
    state = page.locator("#state")
    expect(state).to_have_text(re.compile(r"^version 2champion, loaded \d\d:\d\d$"))

    registry.champion_since["digits", "2"] = "2020-11-26T23:30:00+00:00"
    expect(state).to_have_text("version 2champion, since 27 Nov 2020, 00:30", timeout=DEADLINE_S * 1000)

    page.clock.set_fixed_time("2020-11-27T10:00:00+00:00")
    expect(state).to_have_text("version 2champion, since 00:30", timeout=DEADLINE_S * 1000)


def test_a_new_champion_that_takes_something_else_gets_another_input(
    host: Host, look: Look, registry: FolderStore, packages: Packages
) -> None:
    page = look(host.url)
    page.locator(".pad").wait_for()

    registry.add(packages["table"], "digits", "5")

    page.get_by_label("city").wait_for()
    expect(page.locator(".pad")).to_have_count(0)
    expect(page.locator("#notice")).to_contain_text("Version 5 has another contract than 2 before it: the input was")
    wait_answer(page)


def test_a_refused_version_is_told_and_the_old_one_goes_on(
    host: Host, look: Look, registry: FolderStore, packages: Packages, tmp_path: Any
) -> None:
    import shutil

    page = look(host.url)
    page.locator(".panel").wait_for()
    damaged = tmp_path / "damaged"
    shutil.copytree(packages["digits-1"], damaged)
    flip_byte(damaged / "model.onnx")

    registry.add(damaged, "digits", "4")

    page.get_by_text("Version 4 was refused, so version 2 goes on answering").wait_for()
    assert "damaged" in page.locator("#notice").inner_text()


def test_no_model_yet_is_told_and_the_first_one_appears_by_itself(
    look: Look, tmp_path: Any, packages: Packages
) -> None:
    store = FolderStore(tmp_path / "cache")
    host = Host(store)
    try:
        page = look(host.url)
        page.get_by_text("No model is served yet.").wait_for()

        store.add(packages["digits-2"], "digits", "1")

        page.locator(".panel").wait_for()
        assert page.locator("#notice").is_hidden()
    finally:
        host.stop()


def test_a_server_that_goes_away_and_comes_back_is_followed(look: Look, registry: FolderStore) -> None:
    host = Host(registry)
    page = look(host.url, troubles=True)
    page.locator(".panel").wait_for()
    draw(page, DIGITS["0"][0])
    wait_label(page, "0")
    host.stop()
    page.get_by_text("The server does not answer.").first.wait_for()
    draw(page, DIGITS["7"][1])
    page.locator(".panel .warning").wait_for()

    again = Host(registry, host.port)
    try:
        expect(page.locator("#state")).to_have_class("state up", timeout=DEADLINE_S * 1000)
        expect(page.locator("#notice")).to_be_hidden()
        expect(page.locator(".panel .warning")).to_be_hidden()  # what was drawn meanwhile is asked now
        wait_answer(page)
    finally:
        again.stop()


def test_the_page_asks_for_the_key_and_keeps_it_for_this_tab(look: Look, registry: FolderStore) -> None:
    host = Host(registry, api_key="sesame")
    try:
        page = look(host.url, troubles=True)
        field = page.get_by_label("API key")
        field.fill("wrong")
        page.get_by_role("button", name="Use this key").click()
        page.get_by_text("The server does not take this key.").wait_for()
        field.fill("sesame")
        page.get_by_role("button", name="Use this key").click()
        page.locator(".panel").wait_for()
        page.reload()
        page.locator(".panel").wait_for()
        page.get_by_role("button", name=re.compile("^Sample 1:")).click()
        wait_label(page, "1")
        expect(page.locator("#command code")).to_contain_text('-H "x-api-key: $MODEL_SERVER_API_KEY"')
        assert "sesame" not in page.content()
    finally:
        host.stop()


def test_the_chooser_goes_from_model_to_model(
    host: Host, look: Look, registry: FolderStore, packages: Packages
) -> None:
    registry.add(packages["table"], "places", "1")
    page = look(host.url)
    page.locator(".panel").wait_for()
    page.locator("#models option[value=places]").wait_for(state="attached")

    page.get_by_label("Model", exact=True).select_option("places")
    page.get_by_label("city").wait_for()
    assert page.url.endswith("#places")
    page.get_by_label("Model", exact=True).select_option("digits")
    page.locator(".pad").wait_for()
    page.goto(f"{host.url}/#places")  # a link, followed without a reload
    page.get_by_label("city").wait_for()


def test_an_address_that_names_no_model_shows_the_first_one(host: Host, look: Look) -> None:
    page = look(host.url, "%E0%A4%A")
    page.locator(".panel").wait_for()
    page.goto(f"{host.url}/#none")
    expect(page.get_by_label("Model", exact=True)).to_have_value("digits")


# --------------------------------------------------------------------------------------------------------------- tables


def test_a_row_is_filled_from_a_sample_changed_and_answered_with_missing_cells(
    host: Host, look: Look, registry: FolderStore, packages: Packages
) -> None:
    registry.add(packages["table"], "places", "1")
    page = look(host.url, "places")
    age, city = page.get_by_label("age"), page.get_by_label("city")
    age.wait_for()
    assert (age.input_value(), city.input_value()) == ("39", "Oslo")
    wait_answer(page)
    assert city.locator("option").all_inner_texts() == ["missing", "Oslo", "Rome", "São Paulo"]

    with page.expect_request(lambda sent: "/predict/places" in sent.url) as sent:
        city.select_option("São Paulo")
    assert json.loads(sent.value.post_data)["inputs"] == [39, "São Paulo", 1200.5, "1"]

    with page.expect_request(lambda sent: "/predict/places" in sent.url) as sent:
        age.fill("")
    assert json.loads(sent.value.post_data)["inputs"][0] is None

    age.fill("old")
    page.get_by_text("“age” must be a number").wait_for()
    assert age.get_attribute("aria-invalid") == "true"

    age.fill("40")
    age.press("ArrowUp")
    assert float(age.input_value()) > 40
    wait_answer(page)


def test_a_regression_shows_its_value_on_the_scale_of_the_samples_and_what_mattered(
    host: Host, look: Look, registry: FolderStore, packages: Packages
) -> None:
    registry.add(packages["progress"], "progress", "1")
    page = look(host.url, "progress")
    page.locator("#gallery button").nth(2).click()
    page.get_by_text(re.compile("^truly ")).wait_for()
    assert page.locator(".gauge i:visible").count() == 2

    page.get_by_role("button", name="Show what mattered").click()
    page.locator(".columns .label").first.wait_for()

    assert sorted(page.locator(".columns .label").all_inner_texts()) == ["age", "bmi", "s1"]


def test_the_plane_of_a_playground_model_is_coloured_by_its_answers(
    host: Host, look: Look, registry: FolderStore, packages: Packages
) -> None:
    registry.add(packages["playground"], "playground", "1")
    page = look(host.url, "playground")
    plane = page.locator(".plane canvas")
    page.locator(".plane canvas[data-coloured='1']").wait_for()
    colours = plane.evaluate(
        """(canvas) => {
          const { data } = canvas.getContext('2d').getImageData(0, 0, 640, 640);
          const pixel = ([x, y]) => [...data.slice((y * 640 + x) * 4, (y * 640 + x) * 4 + 4)];
          return [[20, 320], [340, 300], [620, 100]].map(pixel);
        }"""
    )
    orange = [red > blue + 60 for red, _, blue, _ in colours]
    assert orange == [True, False, True], "outside is the first class and orange, inside the second and blue"

    box = plane.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wait_label(page, "inside")
    plane.focus()
    for _ in range(18):
        page.keyboard.press("ArrowRight")
    wait_label(page, "outside")
    assert float(page.get_by_role("textbox", name="x1").input_value()) == pytest.approx(5.4, abs=0.02)


# ------------------------------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("model", ["digits", "places", "progress"])
def test_every_command_gives_the_answer_that_is_shown(
    host: Host, look: Look, registry: FolderStore, packages: Packages, model: str
) -> None:
    registry.add(packages["table"], "places", "1")
    registry.add(packages["progress"], "progress", "1")
    page = look(host.url, model, permissions=["clipboard-read", "clipboard-write"])
    expect(page.get_by_label("Model", exact=True)).to_have_value(model)
    page.locator("#gallery button").nth(1).click()  # a row with missing cells, in the tables
    wait_answer(page)

    said = {}
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.get_by_role("button", name=re.compile("^Cop")).click()
        command = page.evaluate("navigator.clipboard.readText()")
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=20)
        said[tab.inner_text()] = json.loads(done.stdout)

    own = said["Regatta"]["prediction"]
    outputs = [
        own["probabilities"] if model != "progress" else [own["value"]],
        said["TF Serving"]["predictions"][0],
        said["MLflow"]["predictions"][0],
        said["Open Inference (V2)"]["outputs"][0]["data"],
    ]
    for output in outputs:
        np.testing.assert_allclose(np.ravel(output), outputs[0], rtol=1e-5)
    shown = page.locator(".told strong")
    expect(shown).to_have_text(
        re.compile("^" + re.escape(str(own["value"])[:3])) if model == "progress" else own["label"]
    )


# ------------------------------------------------------------------------------------------------------- size, keyboard


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("model", ["digits", "places", "playground"])
def test_the_page_fits_a_small_phone_in_both_schemes(
    host: Host, look: Look, registry: FolderStore, packages: Packages, model: str, scheme: str
) -> None:
    registry.add(packages["table"], "places", "1")
    registry.add(packages["playground"], "playground", "1")
    previous(registry, "digits", "1")
    page = look(host.url, model, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    page.locator("#gallery button").first.click()
    wait_answer(page)
    page.get_by_role("button", name="Show what mattered").click()
    page.locator(".heat canvas, .columns").first.wait_for()

    assert page.evaluate("document.documentElement.scrollWidth") == 360
    small = page.evaluate(
        """() => [...document.querySelectorAll('button, select, input:not([type=range], [type=file])')]
          .filter(e => e.offsetParent && e.type !== 'checkbox' && e.getBoundingClientRect().height < 30)
          .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert small == []


def test_everything_can_be_done_with_the_keyboard_alone(host: Host, look: Look) -> None:
    page = look(host.url)
    page.locator(".panel").wait_for()

    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"{selector} does not show that it has the focus"
                return
        pytest.fail(f"{selector} is not reached by Tab")

    tab_to(".skip")
    page.keyboard.press("Enter")
    tab_to(".pad canvas")
    for _ in range(7):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    for _ in range(14):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    wait_label(page, "1")
    page.keyboard.press("Backspace")
    wait_label(page, "–")

    tab_to("#gallery button")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_label(page, "1")
    tab_to("[role=tab]")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#command code")).to_contain_text("v1/models/digits:predict")


def test_a_screen_reader_hears_the_answer_and_the_names_of_everything(host: Host, look: Look) -> None:
    page = look(host.url)
    page.get_by_role("button", name=re.compile("^Sample 3:")).click()

    expect(page.locator("#spoken")).to_have_text(re.compile("^3, "))
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, select, input, textarea, canvas, [role=img]')]
          .filter(e => !e.closest('[aria-hidden=true]') && e.getAttribute('aria-hidden') !== 'true')
          .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length))
          .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_enough_contrast(host: Host, look: Look, registry: FolderStore, scheme: str) -> None:
    previous(registry, "digits", "1")
    page = look(host.url, color_scheme=scheme)
    page.locator("#gallery button").first.click()
    wait_answer(page)
    page.get_by_role("button", name="Show what mattered").click()
    page.locator(".heat canvas").wait_for()
    page.evaluate("Promise.all(document.getAnimations().map(animation => animation.finished))")

    faint = page.evaluate(
        """() => {
          const parse = (text) => text.match(/[\\d.]+/g).map(Number);
          const bright = ([r, g, b]) => [r, g, b].map((v) => v / 255)
            .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          const ground = (element) => {
            for (let e = element; e; e = e.parentElement) {
              const colour = parse(getComputedStyle(e).backgroundColor);
              if (colour.length === 3 || colour[3] === 1) return colour;
            }
            return [255, 255, 255];
          };
          const found = [];
          for (const e of document.querySelectorAll('body *')) {
            const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
            if (!own || !e.offsetParent || e.closest('.pad, .unseen, [disabled]')) continue;
            const [one, two] = [bright(parse(getComputedStyle(e).color)), bright(ground(e))];
            const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
            if (ratio < 4.5) found.push(`${e.className || e.tagName}: ${ratio.toFixed(2)}`);
          }
          return found;
        }"""
    )
    assert faint == []


def test_no_more_than_one_question_is_under_way(host: Host, look: Look) -> None:
    page = look(host.url)
    page.locator(".panel").wait_for()
    open_now, most = 0, 0

    def begun(request: Any) -> None:
        nonlocal open_now, most
        if "/predict/" in request.url:
            open_now += 1
            most = max(most, open_now)

    def ended(request: Any) -> None:
        nonlocal open_now
        open_now -= "/predict/" in request.url

    page.on("request", begun)
    page.on("requestfinished", ended)
    draw(page, DIGITS["8"][0], steps=3)
    draw(page, DIGITS["0"][0], steps=3)
    wait_answer(page)

    assert most == 1


def test_a_small_screen_shows_the_answer_beside_the_pad(host: Host, look: Look) -> None:
    page = look(host.url, viewport={"width": 360, "height": 740})
    page.locator(".panel").wait_for()

    draw(page, DIGITS["0"][0])

    glance = page.locator("#glance")
    expect(glance).to_have_text(re.compile("^0, "))
    assert glance.bounding_box()["y"] < page.locator(".pad").bounding_box()["y"]
    page.set_viewport_size({"width": 1280, "height": 900})
    assert glance.is_hidden()
