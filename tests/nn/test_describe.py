"""Descriptions: text -> model -> text, what each word means, errors that point at the word."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiso import nn
from kiso.errors import ConfigError, DescriptionError
from kiso.text import set_language

IMAGE = (4, 12, 12)


def there_and_back(text: str, shape: tuple[int, ...] = IMAGE) -> str:
    """The text of the model, after checking that it gives the same model again."""
    model = nn.from_text(text, shape)
    again = nn.from_text(nn.to_text(model), shape)
    assert repr(again) == repr(model)
    assert nn.to_text(again) == nn.to_text(model)
    assert {n: v.shape for n, v in again.state_dict().items()} == {
        n: v.shape for n, v in model.state_dict().items()}
    return nn.to_text(model)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv30k5 relu pool2 flatten linear100 relu linear10", None),
        ("conv8k3x5s2x1p1d1x2g4nobias", None),
        ("conv8k3psame", None),
        ("conv8k3pvalid pool3s2p1ceil avgpool2 gmp", None),
        ("avgpool3s1p1ceilnopad", None),
        ("bn dropout0.25 leakyrelu0.2 elu0.5 pad1 gap linear3nobias softmax", None),
        ("sigmoid tanh elu leakyrelu gelu silu softplus relu6 hardtanh hardsigmoid", None),
        ("hardswish step logsoftmax identity dropout", None),
        ("reshape16x6x6 conv4k1", None),
        ("res(conv4k3p1 bn relu conv4k3p1 bn) relu", None),
        ("res(conv8k3s2p1 bn | conv8k1s2 bn)", None),
        ("res(conv8k1 | conv8k1)", None),
        ("cat(conv2k1 | conv3k3p1 relu | pool3s1p1) add(identity | bn)", None),
        ("seq(conv3k1 relu) seq()", None),
        ("add(identity | seq(relu)) res(seq(relu) | seq(seq(relu)))", None),
        # written otherwise
        ("conv8", "conv8k3psame"),
        ("conv, conv + pool; conv", "conv16k3psame conv16k3psame pool2 conv32k3psame"),
        ("{conv8k3 ReLU} x2", "conv8k3 relu conv8k3 relu"),
        ("(pool2)x2", "pool2 pool2"),
        ("{pool2} * 2", "pool2 pool2"),
        ("pool2 x2", "pool2 pool2"),
        ("res(conv4k1) x2", "res(conv4k1) res(conv4k1)"),
        ("{{relu} x2 tanh} x2 {step}x0", "relu relu tanh relu relu tanh"),
        ("{affine, ReLU} x (3-1) + affine7 + softmax",
         "flatten linear100 relu linear100 relu linear7 softmax"),
        ("fc5 dense6 batchnorm swish", "flatten linear5 linear6 bn silu"),
        ("maxpool3s2p1", "pool3s2p1"),
    ],
)
def test_words(text: str, expected: str | None) -> None:
    assert there_and_back(text) == (expected or text)


def test_dimensions_follow_from_the_input() -> None:
    names = {(3, 9): "1d", (3, 9, 9): "2d", (3, 9, 9, 9): "3d"}
    for shape, ending in names.items():
        model = nn.from_text("conv4k3 bn pool2 avgpool2", shape)
        assert [type(m).__name__ for m in model] == [
            f"{n}{ending}" for n in ("Conv", "BatchNorm", "MaxPool", "AvgPool")]
    assert repr(nn.from_text("bn linear2", (7,))) == repr(nn.Sequential(
        nn.BatchNorm1d(7), nn.Linear(7, 2)))


def test_the_last_linear_takes_the_outputs() -> None:
    assert nn.to_text(nn.from_text("linear relu linear softmax", (5,), 3)) == (
        "linear100 relu linear3 softmax")
    assert nn.to_text(nn.from_text("linear4 relu linear8", (5,), 3)) == "linear4 relu linear8"
    assert nn.to_text(nn.from_text("{linear relu} x1 linear", (5,), 3)) == "linear100 relu linear3"


def test_the_book_s_pattern() -> None:
    text = "{conv, conv, pool} x 2; {affine, ReLU} x (3-1) + affine + softmax"
    model = nn.from_text(text, (1, 28, 28), 10)
    assert model.summary((1, 28, 28)).output_shape == (10,)


@pytest.mark.parametrize(
    ("text", "word", "message"),
    [
        ("conv30k5 rleu pool2", "rleu", "Did you mean relu"),
        ("conv8k3 cnov8k3", "cnov8k3", "Did you mean conv"),
        ("conv8q3", "conv8q3", "q3 is no option here"),
        ("conv8k3k5", "conv8k3k5", "k is given twice"),
        ("conv8k50", "conv8k50", r"\(12 \+ 2\*0 - 50\)/1 \+ 1 = -37"),
        ("conv8k3x3x3", "conv8k3x3x3", "or 2 of them"),
        ("conv0k3", "conv0k3", "out_channels is 0"),
        ("conv6k3g4", "conv6k3g4", "multiple of"),
        ("pool2 pool9", "pool9", r"\(6 \+ 2\*0 - 9\)"),
        ("linear5 conv8k3", "conv8k3", r"needs maps .* \(5,\)"),
        ("linear5 pool2", "pool2", "needs maps"),
        ("linear0", "linear0", "out_features is 0"),
        ("linear99999999", "linear99999999", "too large"),
        ("linear5x5", "linear5x5", "expected a whole number"),
        ("dropout1.5", "dropout1.5", "p is 1.5"),
        ("dropoutx", "dropoutx", "x is no number"),
        ("relu7", "relu7", "no word of a model"),
        ("bn3", "bn3", "bn takes no numbers"),
        ("pad", "pad", "for example pad1"),
        ("reshape", "reshape", "for example reshape"),
        ("reshape5x5", "reshape5x5", "does not fit the shape"),
        ("relu x3 x4", "x4", "no word"),
        ("{relu", "{", "never closed by }"),
        ("relu (tanh", "(", r"never closed by \)"),
        ("{relu)", "{", "never closed"),
        ("relu }", "}", "never opened"),
        ("relu | tanh", "|", "separates branches"),
        ("{relu | tanh} x2", "{", "never closed"),
        ("res(conv8k3)", "res", "give a shortcut"),
        ("res(relu | relu | relu)", "res", "takes 1 to 2 parts"),
        ("cat(relu)", "cat", "takes 2 to 100 parts"),
        ("add(conv3k1 | conv4k1)", "add", "they are added"),
        ("{relu} x 99999", "x 99999", "0 to 2000 times"),
        ("{relu} x (2-5)", "x (2-5)", "0 to 2000 times"),
        ("{{relu} x 100} x 100", "{", "more than 2000 layers"),
        ("{" * 40 + "relu" + "}" * 40, "{", "too deeply"),
    ],
)
def test_errors_point_at_the_word(text: str, word: str, message: str) -> None:
    with pytest.raises(DescriptionError, match=message) as caught:
        nn.from_text(text, IMAGE)
    *_, line, pointer = str(caught.value).splitlines()
    start = len(pointer) - len(pointer.lstrip())
    assert set(pointer.strip()) == {"^"}
    assert line[start:start + len(pointer.strip())] == word


def test_the_right_line_of_a_long_text_is_shown() -> None:
    text = "relu\n" + "tanh " * 40 + "sigmiod " + "tanh " * 40 + "\nrelu"
    with pytest.raises(DescriptionError) as caught:
        nn.from_text(text, IMAGE)
    _, line, pointer = str(caught.value).splitlines()
    assert len(line) < 110
    assert line.startswith("  ...")
    assert line.endswith("...")
    assert line[pointer.index("^"):pointer.rindex("^") + 1] == "sigmiod"


def test_empty_text_and_bad_shapes() -> None:
    for text in ["", "  \n", ",;+"]:
        with pytest.raises(DescriptionError, match="is empty"):
            nn.from_text(text, IMAGE)
    for shape in [(), (0, 3), (1.5,), ("a",)]:
        with pytest.raises(ConfigError, match="input_shape"):
            nn.from_text("relu", shape)  # type: ignore[arg-type]


def test_errors_speak_japanese() -> None:
    try:
        set_language("ja")
        with pytest.raises(DescriptionError, match="もしかして relu"):
            nn.from_text("rleu", IMAGE)
    finally:
        set_language(None)


@pytest.mark.parametrize(
    "layer",
    [nn.Flatten(0, 1), nn.GELU("tanh"), nn.Softmax(1), nn.BatchNorm2d(3, eps=1e-3),
     nn.Pad([(0, 1)]), nn.Reshape(2, -1), nn.Im2Col(3), nn.Hardtanh(0, 1),
     nn.Parallel(nn.ReLU()), nn.MSELoss(), type("Own", (nn.Module,), {})()],
    ids=lambda layer: type(layer).__name__,
)
def test_what_no_word_stands_for_is_refused(layer: nn.Module) -> None:
    with pytest.raises(DescriptionError, match=re.escape(type(layer).__name__)):
        nn.to_text(nn.Sequential(nn.ReLU(), layer))


@st.composite
def words(draw: st.DrawFn, depth: int = 2) -> str:
    """Descriptions that keep maps at 4 channels of 12x12, so that any order fits."""
    odd = st.sampled_from([1, 3, 5])

    def conv() -> str:
        k = draw(odd)
        return (f"conv4k{k}p{k // 2}" + draw(st.sampled_from(["", "g2", "nobias"]))
                if draw(st.booleans()) else f"conv4k{k}x{draw(odd)}psame")

    def window() -> str:
        k = draw(odd)
        return f"{draw(st.sampled_from(['pool', 'avgpool', 'maxpool']))}{k}s1p{k // 2}"

    number = st.floats(0, 0.99).map(lambda p: f"dropout{p:.6g}")
    slope = st.floats(-3, 3).map(lambda a: f"leakyrelu{a!r}")
    plain = st.sampled_from(["relu", "bn", "tanh", "sigmoid", "gelu", "elu", "identity", "relu6"])
    found: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.integers(0, 7 if depth else 3))
        if kind == 0:
            found.append(conv())
        elif kind == 1:
            found.append(window())
        elif kind == 2:
            found.append(draw(st.one_of(number, slope)))
        elif kind == 3:
            found.append(draw(plain))
        elif kind == 4:
            found.append(f"{{{draw(words(depth - 1))}}} x{draw(st.integers(1, 2))}")
        elif kind == 5:
            found.append(f"res({draw(words(depth - 1))})")
        elif kind == 6:
            found.append(f"add({draw(words(depth - 1))} | {draw(words(depth - 1))})")
        else:
            found.append(f"seq({draw(words(depth - 1))})")
    return draw(st.sampled_from([" ", ", ", " + ", ";"])).join(found)


@settings(max_examples=40)
@given(words())
def test_any_description_goes_there_and_back(text: str) -> None:
    there_and_back(text)


@settings(max_examples=300)
@given(st.text(st.sampled_from(list("{}()|,+; x3*20conv5krelupoisg.-^\n\tあ")), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        nn.from_text(text, (2, 6, 6))
    except DescriptionError as error:
        assert str(error)
