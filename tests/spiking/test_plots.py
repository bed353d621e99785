"""Pictures: what is drawn, not how it looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from spiking import Events, plots
from tests.datasets.strategies import random_store


@pytest.fixture
def events() -> Events:
    """One recording of a 3x2 camera."""
    x = torch.zeros(6, 1, 12)
    x[1, 0, 0] = 2  # polarity 0, pixel (0, 0)
    x[4, 0, 11] = 1  # polarity 1, pixel (2, 1)
    return Events.from_dense(x, dt=5.0, sensor=(3, 2, 2))


def test_learning_curve_draws_each_run_and_level() -> None:
    rows = [{"epoch": e, "loss": 1 / e, "train_accuracy": 0.5, "valid_accuracy": 0.4} for e in (1, 2, 3)]
    chart = plots.learning_curve([*rows, *rows], {"ridge": 0.92})
    loss, accuracy = chart.axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[1, 1 / 2, 1 / 3]] * 2
    assert len(accuracy.lines) == 2 + 2 + 1 and list(accuracy.lines[-1].get_ydata()) == [92.0, 92.0]
    assert plots.learning_curve([]).axes


def test_confusion_counts() -> None:
    chart = plots.confusion([0, 0, 1, 1], [0, 1, 1, 1], ["a", "b"])
    assert {text.get_text() for text in chart.axes[0].texts} == {"1", "2"}
    assert chart.axes[0].get_title().startswith("75.0 %")
    assert chart.axes[0].images[0].get_array().tolist() == [[50, 50], [0, 100]]


def test_confusion_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="predictions"):
        plots.confusion([0, 1], [0], ["a", "b"])
    with pytest.raises(ValueError, match="labels"):
        plots.confusion([0, 2], [0, 1], ["a", "b"])


def test_raster_shows_every_layer(events: Events) -> None:
    layer = torch.zeros(6, 5)
    layer[3, 2] = 1
    chart = plots.raster(events, [layer], torch.rand(6, 2), ["a", "b"], label=1)
    first, hidden, readout = chart.axes
    image = first.images[0].get_array()
    assert image.shape == (12, 6) and image[0, 1] < 0 < image[11, 4] and np.count_nonzero(image) == 2
    assert hidden.images[0].get_array()[2, 3] == 1
    assert len(readout.lines) == 2
    chart.canvas.draw()


def test_raster_ends_with_the_recording_and_names_what_was_said() -> None:
    x = Events.from_dense(torch.ones(9, 1, 4), 5.0, torch.tensor([6]))
    out = torch.zeros(9, 3)
    out[2, 2], out[5, 0] = 4.0, 1.0  # class 2 is ahead for a while, the last step names class 0

    def named(**more: int) -> list[str]:
        readout = plots.raster(x, output=out, classes=["a", "b", "c"], **more).axes[-1]
        assert readout.get_xlim() == (0.0, 30.0)
        assert all(len(line.get_xdata()) == 6 for line in readout.lines)
        return [text.get_text() for text in readout.get_legend().get_texts()]

    assert named(label=0, said=0) == ["a (right)", "others"]
    assert named(label=1, said=0) == ["a (said)", "b (right)", "others"]
    assert named(label=1) == ["others", "b (right)", "c (highest)"]


def test_raster_pools_neurons_that_do_not_fit(events: Events) -> None:
    layer = torch.ones(6, 1001)
    image = plots.raster(events, [layer]).axes[1].images[0].get_array()
    assert image.shape[0] <= 300 and float(image.sum()) == 6 * 1001


def test_raster_names_what_is_wrong(events: Events) -> None:
    with pytest.raises(ValueError, match="events"):
        plots.raster(events[:, [0, 0]])
    with pytest.raises(ValueError, match="layers"):
        plots.raster(events, [torch.zeros(5, 3)])


def test_event_image_signs_polarities(events: Events) -> None:
    chart = plots.event_image(events, parts=2)
    early, late = (axes.images[0].get_array() for axes in chart.axes)
    assert early[0, 0] == -2 and np.count_nonzero(early) == 1
    assert late[1, 2] == 1 and np.count_nonzero(late) == 1
    with pytest.raises(ValueError, match="sensor"):
        plots.event_image(Events.from_dense(torch.ones(2, 1, 3), dt=1.0))


def test_movie_shows_each_event_in_its_frame(events: Events, tmp_path: Path) -> None:
    with Image.open(plots.movie(events, tmp_path / "a.gif", frames=3)) as movie:
        frames = [np.asarray(frame.convert("RGB"), np.int64) for frame in ImageSequence.Iterator(movie)]
    assert len(frames) == 3
    blue, red = ([f[..., 2 - 2 * k] - f[..., 2 * k] > 20 for f in frames] for k in (0, 1))
    assert [mask.any() for mask in red] == [False, False, True] and blue[0].any() and not (blue[0] & red[2]).any()
    light = [frame[blue[0]].mean() for frame in frames]
    assert light[0] < light[1] < light[2]  # it fades where it was
    channels = Events.from_dense(torch.ones(4, 1, 3), dt=2.0)
    with Image.open(plots.movie(channels, tmp_path / "b.gif")) as movie:
        dark = [int((np.asarray(frame.convert("L")) < 128).sum()) for frame in ImageSequence.Iterator(movie)]
    assert len(dark) == 4 and sorted(set(dark)) == dark
    with pytest.raises(ValueError, match="events: expected one recording"):
        plots.movie(events[:, [0, 0]], tmp_path / "c.gif")


def test_overview_counts(tmp_path: Path) -> None:
    store = random_store(n=20, channels=24, sensor=(4, 3, 2), split=np.array(["train"] * 15 + ["test"] * 5))
    chart = plots.overview(store, show=7, title="some")
    over_time, sizes, classes = chart.subfigs[1].axes
    width = np.diff(over_time.patches[0].get_data().edges)
    total = sum((patch.get_data().values * width).sum() for patch in over_time.patches)
    assert total == pytest.approx(len(store.select([7]).arrays()[0]))
    assert sum(patch.get_height() for patch in sizes.patches) == 20
    assert sum(patch.get_height() for patch in classes.patches) == 20
    assert len(chart.subfigs[0].axes) == 4 and chart.subfigs[0]._suptitle.get_text().startswith("some: recording 7")
    chart.savefig(tmp_path / "a.png")
    flat = plots.overview(random_store(classes=50, n=100))
    assert len(flat.subfigs[0].axes) == 1 and flat.subfigs[1].axes[2].get_xlabel() == "class"


def test_rates_count_the_silent() -> None:
    chart = plots.rates([torch.tensor([0.0, 0.0, 10.0]), torch.tensor([5.0])])
    assert "2 of 3 silent" in chart.axes[0].get_title() and "mean 5.0 Hz" in chart.axes[1].get_title()


def test_forgetting_draws_each_task_from_when_it_is_learned() -> None:
    R = np.array([[[0.9, 0.1], [0.6, 0.8]], [[0.7, 0.1], [0.4, 0.8]]])
    chart = plots.forgetting({"a": R, "b": R + 0.1}, {"a": np.full((2, 2), 0.1)})
    lines = {tuple(line.get_xdata()): line.get_ydata() for line in chart.axes[0].lines}
    np.testing.assert_allclose(lines[1, 2], [80, 65])  # the last of them: the mean of the tasks learned so far
    np.testing.assert_allclose(lines[2,], [80])
    np.testing.assert_allclose(chart.axes[0].lines[1].get_ydata(), [80, 50])
    assert chart.axes[1].get_title() == "b: 75.0 % at the end"
    with pytest.raises(ValueError, match=r"runs: expected \(seeds, T, T\) for a, got \(2, 2\)"):
        plots.forgetting({"a": R[0]})


def test_accuracy_matrix_says_every_number() -> None:
    chart = plots.accuracy_matrix({"a": np.array([[[0.9, 0.1], [0.6, 0.8]]])})
    assert [text.get_text() for text in chart.axes[0].texts] == ["90", "10", "60", "80"]
    assert chart.axes[0].images[0].get_array().tolist() == [[90, 10], [60, 80]]


def test_the_stability_gap_is_drawn_for_tasks_begun() -> None:
    seed = [[0, 5, 0.5, np.nan], [0, 10, 0.9, np.nan], [1, 5, 0.3, 0.6], [1, 10, 0.8, 0.7]]
    other = [[0, 5, 0.7, np.nan], [0, 10, 0.9, np.nan], [1, 5, 0.1, 0.6], [1, 10, 0.8, 0.7]]
    chart = plots.stability_gap({"a": [seed, other]})
    first, second, end = chart.axes[0].lines
    np.testing.assert_allclose(first.get_xydata(), [[1, 60], [2, 90], [3, 20], [4, 80]])
    np.testing.assert_allclose(second.get_xydata(), [[3, 60], [4, 70]])
    assert end.get_xdata()[0] == 2.5 and len(chart.axes[0].collections) == 2


def test_subspaces_says_what_was_not_measured() -> None:
    table = np.array([[[4.0, 16.0, 0.5], [8.0, 16.0, np.nan]]])
    chart = plots.subspaces({"hlop": {"layers.0": table}, "gpm": {"layers.0": table * [1, 1, np.nan]}})
    rows, _, energy, none = chart.axes
    np.testing.assert_allclose(rows.lines[0].get_ydata(), [25, 50])
    assert rows.lines[0].get_label() == "layers.0: 8 of 16" and energy.lines[0].get_ydata()[0] == 50
    assert none.texts[0].get_text() == "not measured"


def test_a_voltage_and_its_prediction() -> None:
    rng = np.random.default_rng(0)
    true, said, chance = rng.normal(size=(3, 50))
    fired = np.zeros(50)
    fired[[7, 30]] = 1
    upper, lower = plots.membrane(true, said, fired, chance, dt=2.0).axes
    assert [list(line.get_ydata()) for line in upper.lines] == [list(true), list(said)]
    assert upper.lines[0].get_xdata()[-1] == 98.0 and "2 spikes" in lower.get_legend().get_texts()[0].get_text()
    with pytest.raises(ValueError, match=r"said: expected \(50,\) as true, got \(49,\)"):
        plots.membrane(true, said[1:], fired, chance)


def test_detection_names_its_areas() -> None:
    fired = np.array([0, 0, 0, 1, 1, 0, 0, 0, 0, 0])
    chart = plots.detection(fired, np.array([0.1, 0.2, 0.1, 0.9, 0.3, 0.4, 0.1, 0.1, 0.2, 0.1]))
    roc, recall = (axes.get_legend().get_texts()[0].get_text() for axes in chart.axes)
    assert roc == "area 0.9375" and recall == "average 0.833"
    with pytest.raises(ValueError, match="fired: expected spikes and silence"):
        plots.detection(np.zeros(4), np.ones(4))


def test_time_constants_before_and_after() -> None:
    chart = plots.time_constants({"neuron": [1.0, 100.0, 10.0]}, {"neuron": [1.0, 200.0, 10.0]})
    before, after = chart.axes[0].lines
    assert list(before.get_ydata()) == [1, 10, 100] and list(after.get_ydata()) == [1, 10, 200]
    assert "26 % on average" in chart.axes[0].get_title()
    with pytest.raises(ValueError, match="after: expected the layers and sizes of before"):
        plots.time_constants({"a": [1.0]}, {"b": [1.0]})


def test_sums_and_losses() -> None:
    assert plots.agreement([0.0, 2.0], [1.0, 2.0]).axes[0].get_title() == "mean squared error 0.5000"
    rows = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4, "valid_loss": 0.3}]
    training, validation = plots.loss_curve(rows).axes[0].lines
    assert list(training.get_ydata()) == [0.5, 0.4] and list(validation.get_xdata()) == [2]
    assert plots.loss_curve([]).axes
    narrow = plots.loss_curve([{"epoch": 1, "loss": 0.052}, {"epoch": 2, "loss": 0.021}])
    narrow.canvas.draw()
    shown = [tick.get_text() for tick in narrow.axes[0].get_yticklabels(which="both")]
    assert {"0.03", "0.05"} <= set(shown) and not any("times" in text for text in shown)


def test_liquids_in_pictures() -> None:
    indptr, index, weight = [0, 2, 3, 3], [1, 2, 0], [1.0, 2.0, -1.0]
    chart = plots.degrees(indptr, index, weight, [False, True, False])
    assert [axes.get_title() for axes in chart.axes] == ["mean 1.0", "mean 1.0", "3 recurrent synapses"]
    assert sum(patch.get_height() for patch in chart.axes[0].patches) == 3
    both = plots.ranks({"kernel": [2.0, 1.0], "variants": [3.0, 0.1]}, {"kernel": 1.9, "variants": 1.2})
    assert [text.get_text() for text in both.axes[0].get_legend().get_texts()] == ["kernel: 1.9", "variants: 1.2"]
    states = np.array([[0.0, 0.0], [0.0, 2.0], [3.0, 5.0], [3.0, 5.0]])
    table = plots.separation(states, [0, 0, 1, 1], ["a", "b"]).axes[0].images[0].get_array()
    assert table.tolist() == [[1.0, 5.0], [5.0, 0.0]]
    assert plots.branching([1.0, 2.0, np.nan]).axes[0].get_title() == "mean 1.50; 1 of 3 silent"
    far = plots.divergence({"weak": [1.0, 0.5, 0.0]}, 2.0).axes[0].lines[0]
    assert list(far.get_xdata()) == [0, 2, 4] and np.isnan(far.get_ydata()[-1])
    assert plots.memory([1.0, 0.5], 1.0).axes[0].get_title() == "memory capacity 1.5 steps"


def test_the_gain_sweep_in_one_picture() -> None:
    names = ("accuracy", "branching", "kernel_quality", "generalisation_rank", "rate_hz")
    rows = [{"gain": g, **{name: g * (k + 1) for k, name in enumerate(names)}} for g in (0.5, 1.0)]
    panels = plots.gain_sweep(rows, chosen=0.8, chance=0.1).axes
    assert list(panels[0].lines[0].get_ydata()) == [50.0, 100.0]
    assert list(panels[2].lines[2].get_ydata()) == [-0.5, -1.0]  # KQ - GR
    assert all(0.8 in line.get_xdata() for line in (axes.lines[-1] for axes in panels))
