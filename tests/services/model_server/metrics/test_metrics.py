"""Counting, on one board and on several: what is added up, what ends with a version, what outlives a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.model_server.metrics.board import PID, Board, Reader, clear_head
from services.model_server.metrics.counters import FAMILIES, SECONDS, Histogram, ModelStats, ServerStats
from services.model_server.metrics.exposition import Exposition


def samples(stats: ServerStats) -> dict[str, float]:
    """Series to value, as a scrape shows them."""
    found = {}
    for family in text_string_to_metric_families(Exposition(stats).text().decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


@pytest.fixture
def opened() -> Iterator[Callable[[Path], Board]]:
    """Opens boards, and closes them at the end of the test."""
    boards: list[Board] = []

    def open_board(path: Path) -> Board:
        boards.append(Board(path))
        return boards[-1]

    yield open_board
    for board in boards:
        board.close()


@pytest.fixture
def seated(tmp_path: Path, opened: Callable[[Path], Board]) -> Callable[[int], Team]:
    """Makes a team of so many."""
    return lambda size: Team(tmp_path, size, opened)


class Team:
    """Some processes' counters over the same boards."""

    def __init__(self, folder: Path, size: int, opened: Callable[[Path], Board]) -> None:
        self._opened = opened
        self.paths = [folder / f"{number}.board" for number in range(size)]
        self.workers = [self.sit(number) for number in range(size)]

    def sit(self, number: int) -> ServerStats:
        """A new process on a seat."""
        others = [Reader(path) for path in self.paths if path != self.paths[number]]
        board = self._opened(self.paths[number])
        board.values[PID] = 1  # somebody's: of every process that Prometheus asks for
        stats = ServerStats(board, others)
        stats.publish()
        return stats


def test_values_on_a_bound_belong_to_its_bucket() -> None:
    histogram = Histogram((1, 2, 4))
    for value in (0.5, 1, 2, 3, 100):
        histogram.observe(value)
    assert histogram.counts == [2, 1, 1, 1]


def test_a_place_keeps_its_numbers_when_the_board_is_opened_again(
    tmp_path: Path, opened: Callable[[Path], Board]
) -> None:
    board = opened(tmp_path / "b.board")
    for number, key in enumerate([("a", "x"), ("b",), ("a", "y")]):
        board.place(key, 3).values[board.place(key, 3).at] = number
    board.drop(("b",))
    again = opened(tmp_path / "b.board")
    assert dict(again.read()) == {("a", "x"): [0.0, 0.0, 0.0], ("a", "y"): [2.0, 0.0, 0.0]}
    new = again.place(("c",), 3)
    new.values[new.at] = 7
    assert dict(Reader(tmp_path / "b.board").read())[("a", "y")] == [2.0, 0.0, 0.0]
    assert dict(Reader(tmp_path / "b.board").read())[("c",)] == [7.0, 0.0, 0.0]


def test_a_key_that_was_being_written_when_its_process_died_is_left_out(
    tmp_path: Path, opened: Callable[[Path], Board]
) -> None:
    board = opened(tmp_path / "b.board")
    board.place(("whole",))
    with (tmp_path / "b.keys").open("ab") as file:
        file.write(b'[99, 1, "ha')
    assert list(dict(Reader(tmp_path / "b.board").read())) == [("whole",)]
    again = opened(tmp_path / "b.board")
    again.place(("next",))
    assert list(dict(Reader(tmp_path / "b.board").read())) == [("whole",), ("next",)]


def test_what_a_dead_process_said_of_itself_is_taken_down_and_its_numbers_stay(
    tmp_path: Path, opened: Callable[[Path], Board]
) -> None:
    board = opened(tmp_path / "b.board")
    board.values[PID] = 7
    place = board.place(("a",))
    place.values[place.at] = 3
    reader = Reader(tmp_path / "b.board")
    assert reader.head()[PID] == 7
    clear_head(tmp_path / "b.board")
    assert not any(reader.head())
    assert dict(reader.read()) == {("a",): [3.0]}
    clear_head(tmp_path / "no such board")


def test_a_board_that_does_not_exist_yet_is_empty(tmp_path: Path, opened: Callable[[Path], Board]) -> None:
    reader = Reader(tmp_path / "b.board")
    assert not list(reader.read())
    assert reader.head()[PID] == 0
    opened(tmp_path / "b.board").place(("a",))
    assert list(dict(reader.read())) == [("a",)]


def test_a_dropped_place_is_used_again_only_when_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.model_server.metrics.board._CELLS", 300)
    board = Board()
    first = board.place(("0",)).at
    board.place(("1",))
    board.drop(("0",))
    places = [board.place((f"n{number}",)).at for number in range(40)]
    assert places.index(first) > 10
    spilled = places[-1]
    assert places.count(spilled) > 5, "a full board goes on counting where nobody reads"


def test_requests_of_unknown_models_are_one_series() -> None:
    stats = ServerStats()
    for name in ("a", "b", "c"):
        stats.request("native", name, "1", 404, 0.001)
    found = samples(stats)
    assert found["model_server_requests_total{model=,protocol=native,status=404,version=}"] == 3
    assert sum(value for name, value in found.items() if "requests_total" in name) == 3


def test_what_came_no_further_than_the_connection_is_counted_some_at_a_time() -> None:
    stats = ServerStats()
    stats.refused(503, 3)
    stats.refused(503, 1)
    stats.refused(431, 2)
    found = samples(stats)
    assert found["model_server_requests_total{model=,protocol=http,status=503,version=}"] == 4
    assert found["model_server_requests_total{model=,protocol=http,status=431,version=}"] == 2
    latency = "model_server_request_duration_seconds_{}model=,protocol=http,version=}}"
    assert found[latency.format("count{")] == found[latency.format(f"bucket{{le={SECONDS[0]},")] == 6
    assert found[latency.format("sum{")] == 0


def test_the_series_of_a_version_end_when_it_is_unloaded() -> None:
    stats = ServerStats()
    one, two = ModelStats("m", "1", "champion"), ModelStats("m", "2", "champion")
    stats.add(one)
    stats.request("native", "m", "1", 200, 0.001)
    one.batch_rows.observe(3)
    one.strange_rows += 2
    assert samples(stats)["model_server_out_of_range_rows_total{model=m,version=1}"] == 2
    stats.add(two)
    stats.forget(one)
    stats.request("native", "m", "1", 200, 0.001)  # it was under way
    found = samples(stats)
    assert not [name for name in found if "version=1" in name]
    assert found["model_server_requests_total{model=,protocol=native,status=200,version=}"] == 1
    assert found["model_server_batch_rows_count{model=m,version=2}"] == 0


def test_a_version_that_is_loaded_twice_keeps_its_series_until_the_last_is_gone() -> None:
    stats = ServerStats()
    first, second = ModelStats("m", "1"), ModelStats("m", "1")
    stats.add(first)
    stats.add(second)
    stats.forget(first)
    second.batch_rows.observe(3)
    assert samples(stats)["model_server_batch_rows_count{model=m,version=1}"] == 1


def test_counters_and_histograms_of_all_processes_are_added(seated: Callable[[int], Team]) -> None:
    team = seated(3)
    for number, stats in enumerate(team.workers):
        stats.add(ModelStats("m", "1", "champion"))
        for _ in range(number + 1):
            stats.request("native", "m", "1", 200, SECONDS[number])
            stats.models["m", "1"].batch_rows.observe(2**number)
    pages = [samples(stats) for stats in team.workers]
    for page in pages:
        assert page["model_server_requests_total{model=m,protocol=native,status=200,version=1}"] == 6
        latency = "model_server_request_duration_seconds_{}{{{}model=m,protocol=native,version=1}}"
        assert page[latency.format("count", "")] == 6
        assert page[latency.format("bucket", f"le={SECONDS[0]},")] == 1
        assert page[latency.format("bucket", f"le={SECONDS[1]},")] == 3
        assert page[latency.format("sum", "")] == pytest.approx(sum((n + 1) * SECONDS[n] for n in range(3)))
        assert page["model_server_batch_rows_sum{model=m,version=1}"] == 1 + 4 + 12
        assert page["model_server_workers{}"] == 3


def test_gauges_are_added_or_the_worst_counts(seated: Callable[[int], Team]) -> None:
    team = seated(2)
    for number, stats in enumerate(team.workers):
        model = ModelStats("m", "1", "champion", "d", "r", queued_rows=lambda number=number: 10 + number)  # type: ignore[misc]
        stats.staleness_s = lambda number=number: [("m@champion", 5.0 * number)]  # type: ignore[misc]
        stats.registry_up = number == 0
        stats.ready = lambda number=number: number == 1  # type: ignore[misc]
        stats.add(model)
    for stats in team.workers:
        page = samples(stats)
        assert page["model_server_queue_rows{model=m,version=1}"] == 21
        assert page["model_server_model_info{alias=champion,digest=d,model=m,run_id=r,version=1}"] == 1
        assert page["model_server_staleness_seconds{model=m@champion}"] == 5
        assert page["model_server_registry_up{}"] == 0
        assert page["model_server_ready{}"] == 0


def test_a_dead_process_leaves_its_counters_and_takes_its_gauges_along(
    seated: Callable[[int], Team], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("services.model_server.metrics.counters.time.monotonic", lambda: now[0])
    team = seated(2)
    for stats in team.workers:
        stats.add(ModelStats("m", "1", queued_rows=lambda: 5))
        stats.request("native", "m", "1", 200, 0.001)
    now[0] += 60
    name = "model_server_requests_total{model=m,protocol=native,status=200,version=1}"
    page = samples(team.workers[0])
    assert page[name] == 2
    assert page["model_server_queue_rows{model=m,version=1}"] == 5
    assert page["model_server_workers{}"] == 1
    follower = team.sit(1)
    follower.add(ModelStats("m", "1"))
    follower.request("native", "m", "1", 200, 0.001)
    assert samples(team.workers[0])[name] == samples(follower)[name] == 3


def test_the_series_of_a_version_go_on_until_the_last_process_has_unloaded_it(seated: Callable[[int], Team]) -> None:
    team = seated(2)
    models = [ModelStats("m", "1"), ModelStats("m", "1")]
    for stats, model in zip(team.workers, models, strict=True):
        stats.add(model)
        stats.request("native", "m", "1", 200, 0.001)
    name = "model_server_requests_total{model=m,protocol=native,status=200,version=1}"
    team.workers[0].forget(models[0])
    assert [samples(stats)[name] for stats in team.workers] == [2, 2]
    team.workers[1].forget(models[1])
    assert [name in samples(stats) for stats in team.workers] == [False, False]
    for stats in team.workers:
        stats.publish()
        assert not [key for key in stats.board if key[1:3] == ("m", "1")], "its places are given up"


def test_another_part_of_the_server_counts_with_a_family_of_its_own(seated: Callable[[int], Team]) -> None:
    team = seated(2)
    for stats in team.workers:
        stats.count("rejected", ("m",), 2)
        stats.gauges.append(lambda: [("connections", (), 1.0)])
    assert samples(team.workers[0])["model_server_rejected_total{model=m}"] == 4


def test_every_family_has_a_name_of_its_own_and_a_sentence() -> None:
    names = [family.name for family in FAMILIES.values()]
    assert len(names) == len(set(names))
    assert all(family.meaning.endswith(".") for family in FAMILIES.values())
