"""`kiso models`, and nets of the zoo by name in every command that takes a model."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kiso import models
from kiso.train.checkpoint import load_checkpoint
from kiso.train.progress import Progress
from tests.cli.conftest import Kiso

JAPANESE = re.compile("[ぁ-んァ-ヶ一-龠]")
ZOO = [name for name, entry in models.MODELS.items() if entry.card(name).year]
THIN = "resnet20(width=0.25)"


def test_all_models_in_one_table(kiso: Kiso) -> None:
    rows = map(str.split, kiso("models").out.splitlines())
    found = [row for row in rows if row and row[0] in models.MODELS]
    assert {row[0] for row in found} == set(models.MODELS)
    facts = {row[0]: row[1:] for row in found}
    assert facts["vgg16"] == ["2015", "3x224x224", "1000", "138,357,544", "15,470,264,320"]
    assert facts["resnet20"] == ["2016", "3x32x32", "10", "269,722", "40,551,040"]
    years = [int(row[1]) for row in found if row[0] in ZOO]
    assert years == sorted(years)


def test_the_table_as_json(kiso: Kiso) -> None:
    found = {row["name"]: row for row in kiso("models", "--json").json["models"]}
    assert found.keys() == models.MODELS.keys()
    assert found["densenet121"] == {
        "name": "densenet121", "year": 2017, "input": [3, 224, 224], "outputs": 1000,
        "parameters": 7_978_856, "multiply_adds": 2_834_161_664, "seconds": None}
    assert found["cnn"]["year"] is None


def test_a_card(kiso: Kiso) -> None:
    done = kiso("models", "resnet50")
    for words in ("Deep residual learning", "22.85 % top-1 error", "not measured yet",
                  "25,557,032 (97.5 MiB)", "3,857,973,248", "version=1.5",
                  "layer3.0-5  6 x Bottleneck"):
        assert words in re.sub(r"\n {3,}", " ", done.out), words
    assert done.code == 0 and "ms" not in done.out.split()


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_card(kiso: Kiso, name: str, language: str) -> None:
    done = kiso("models", name, "--lang", language)
    assert (done.code, done.err) == (0, "")
    found = kiso("models", name, "--lang", language, "--json").json
    texts = [found["task"], found["structure"], *found["differences"], found["accuracy"]]
    assert all(found[key] for key in ("task", "structure", "source"))
    assert all(bool(JAPANESE.search(text)) == (language == "ja") for text in texts if text)
    assert sum(row["parameters"] for row in found["structure_table"]) == found["parameters"]


def test_all_recipes_in_one_table(kiso: Kiso, monkeypatch: pytest.MonkeyPatch) -> None:
    from kiso.train.recipes import RECIPES

    found = kiso("models", "--recipes", "--json").json["recipes"]
    assert [one["name"] for one in found] == list(RECIPES)
    vgg = next(one for one in found if one["name"] == "vgg")
    assert (vgg["batch_size"], vgg["lr"], vgg["weight_decay"]) == (64, 0.01, 5e-4)
    monkeypatch.setenv("COLUMNS", "240")
    rows = kiso("models", "--recipes").out.splitlines()
    (row,) = (row for row in rows if row.startswith(" vgg"))
    for part in ("64", "74", "clip norm 2)", "multistep:4/5,14/15:0.1",
                 "momentum (lr 0.01, momentum 0.9, weight decay 0.0005, ",
                 "shift/14 flip colour0.1", "Simonyan, Zisserman 2015"):
        assert part in row


def test_a_card_names_its_recipe(kiso: Kiso) -> None:
    out = kiso("models", "wide_resnet").out
    assert "wide_resnet (Zagoruyko, Komodakis 2016)" in out and "batch size 128, epochs 200" in out
    assert kiso("models", "wide_resnet", "--json").json["recipe"] == "wide_resnet"
    assert kiso("models", "cnn", "--json").json["recipe"] == "none"


def test_a_card_of_other_options(kiso: Kiso) -> None:
    found = kiso("models", "vgg11(width=0.5)", "-i", "1x28x28", "--outputs", "3", "--json").json
    assert found["model"] == "vgg11(width=0.5, small)"
    assert found["structure_table"][-1]["output_shape"] == [3]
    assert found["options"] == ["small", "width"] and found["outputs"] == 3


def test_time_is_measured_if_wanted(kiso: Kiso) -> None:
    found = kiso("models", "mlp", "--time", "--threads", "1", "--json").json
    assert 0 < found["seconds"] < 1
    assert re.search(r"time +0\.\d+ ms\n", kiso("models", "mlp", "--time", "--threads", "1").out)


@pytest.mark.parametrize("words, message", [
    (("resnt50",), "'resnt50' is no model's name. Did you mean resnet50,"),
    (("conv4 relu",), "'conv4 relu' is no model's name. `kiso models` lists"),
    (("resnet18(small=2)",), "small: expected the word alone, or =true or =false."),
    (("--input", "3x8x8"), "--input and --outputs belong to one model"),
    (("resnet18", "--input", "12"), "the model resnet18 takes images"),
])
def test_bad_input(kiso: Kiso, words: tuple[str, ...], message: str) -> None:
    done = kiso("models", *words)
    assert done.code == 2 and message in done.err


def test_summary_of_a_name(kiso: Kiso) -> None:
    assert kiso("summary", "resnet18", "--json").json["parameters"] == 11_689_512
    small = kiso("summary", "resnet18", "-i", "3x32x32", "--outputs", "10", "--json").json
    assert small["rows"][0]["layer"] == "Conv2d(3, 64, kernel_size=3, padding=1, bias=False)"
    assert small["output_shape"] == [10]
    done = kiso("summary", "conv4 relu")
    assert done.code == 2 and "Layers in words need the shape of a sample" in done.err


def test_show_and_profile_of_a_name(kiso: Kiso) -> None:
    text = "wide_resnet(depth=10, k=1)"
    assert "Conv[" in kiso("show", text).out
    shown = kiso("profile", text, "-i", "3x16x16", "--batch", "2", "--seconds", "0.01", "--threads",
                 "1", "--json").json
    assert "layer1.0.conv1" in {row["name"] for row in shown["layers"]}


def pictures(folder: Path) -> Path:
    """Two classes of 12 pictures, one bright, one dark."""
    rng = np.random.default_rng(0)
    for name, light in (("dark", 40), ("bright", 200)):
        for k in range(12):
            pixels = rng.integers(light - 40, light + 40, (16, 16, 3)).astype(np.uint8)
            path = folder / "pictures" / name / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return folder / "pictures"


def test_a_run_knows_its_model(kiso: Kiso, tmp_path: Path) -> None:
    data = pictures(tmp_path)
    words = ("--batch-size", "8", "--engine", "eager", "--augment", "flip", "--split",
             "0.7,0.15,0.15")
    done = kiso("train", data, "--model", "resnet18(width=0.05)", "--epochs", "2", "--out", "run",
                *words)
    assert done.code == 0, done.err
    assert "resnet18(width=0.05, small)" in done.out
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text("utf-8"))
    assert config["options"]["model"] == "resnet18(width=0.05)"
    assert config["hyperparameters"]["model"] == "resnet18(width=0.05, small)"
    evaluated = kiso("evaluate", "run", "--engine", "eager", "--json")
    assert evaluated.code == 0 and 0 <= evaluated.json["accuracy"] <= 1
    answer = kiso("predict", "run", data / "dark" / "0.png", "--engine", "eager", "--csv")
    assert answer.code == 0 and "0.png" in answer.out


def test_a_stopped_run_goes_on_with_its_model(kiso: Kiso, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("train", pictures(tmp_path), "--model", THIN, "--epochs", "2", "--batch-size", "8",
             "--engine", "eager", "--json")
    whole = kiso(*words, "--out", "whole").json
    real = Progress.step

    def interrupt(self: Progress, context: Any) -> None:
        if context.step == 3:
            raise KeyboardInterrupt
        real(self, context)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "step", interrupt)
        patch.setattr(Progress, "every_step", True)
        assert kiso(*words, "--out", "half").code == 130
    assert kiso("resume", "half", "--json").json["weights_sha256"] == whole["weights_sha256"]


def test_training_by_name_says_what_is_wrong(kiso: Kiso, tmp_path: Path) -> None:
    done = kiso("train", "--model", "resnet20(widht=0.5)", "--out", "run")
    assert done.code == 2 and "Did you mean width?" in done.err and "^^^^" in done.err
    assert not (tmp_path / "run").exists()


def test_links_stand_on_the_cards_that_count_them(kiso: Kiso) -> None:
    done = kiso("models", "lenet1989_5")
    assert re.search(r"links +5,194\n", done.out) and "98.4 % right" in done.out
    assert kiso("models", "lenet1989_4", "--json").json["links"] == 2266
    assert "links" not in kiso("models", "vgg11").out


def test_auxiliary_heads_stand_on_the_card(kiso: Kiso) -> None:
    rows = {row["name"]: row for row in kiso("models", "googlenet", "--json").json[
        "structure_table"]}
    assert rows["aux1"]["output_shape"] is None and rows["aux1"]["parameters"] == 3_188_840
    assert rows["inception5b"]["output_shape"] == [1024, 7, 7]


def test_nets_that_put_out_pictures_learn_no_classes(kiso: Kiso, tmp_path: Path) -> None:
    done = kiso("train", pictures(tmp_path), "--model", "unet(width=0.1)", "--out", "run",
                "--task", "classification")
    assert done.code == 2 and "the model unet puts out pictures" in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_googlenet_is_trained_with_its_heads(kiso: Kiso, tmp_path: Path) -> None:
    """Compiled, by name: the heads' biases, which begin at 0, move; evaluation does without."""
    done = kiso("train", pictures(tmp_path), "--model", "googlenet(width=0.0625)", "--epochs", "1",
                "--batch-size", "8", "--out", "run", "--threads", "1")
    assert done.code == 0, done.err
    state = load_checkpoint(tmp_path / "run" / "checkpoint-last.safetensors").state["params"]
    assert np.any(state["aux1.fc2.bias"]) and np.any(state["aux2.fc2.bias"])
    assert kiso("evaluate", "run", "--json").code == 0
    assert kiso("profile", "googlenet(width=0.0625)", "-i", "3x16x16", "--batch", "2", "--seconds",
                "0.01", "--threads", "1").code == 0
    more, fewer = (kiso("show", f"googlenet(width=0.0625{rest})", "-i", "3x16x16", "--json",
                        "--gradients").json["nodes"] for rest in ("", ", aux=false"))
    assert more > fewer
