"""The profile of a training step: every kernel, every layer, every operation once."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from kiso import nn, ops, optim
from kiso.errors import ConfigError
from kiso.report import clock
from kiso.report.origin import LOSS, OPTIMIZER, Origin, traced_step
from kiso.report.profile import Cost, Profile, profile

SHAPE, BATCH = (3, 8, 8), 6
NET = ("conv8 bn relu res(conv8 bn relu conv8 bn) relu avgpool2 dropout0.5 conv4k3p1s2 relu "
       "flatten linear10 relu linear3 softmax")


def net() -> nn.Module:
    nn.manual_seed(0)
    return nn.from_text(NET, SHAPE)


@pytest.fixture(scope="module")
def found() -> Profile:
    return profile(net(), SHAPE, BATCH, threads=2, seconds=0.02)


def test_every_kernel_appears_once(found: Profile) -> None:
    assert [k.number for k in found.kernels] == list(range(len(found.kernels)))
    assert found.phases == found.kernels[-1].phase + 1
    assert any(k.shared for k in found.kernels) and not all(k.shared for k in found.kernels)


def test_every_layer_appears(found: Profile) -> None:
    served = {o for k in found.kernels for o in k.serves}
    names = [row.name for row in found.layers]
    assert names[0] == "0" and "3.body.4" in names
    for row in found.layers[:-1]:  # the last is the softmax, which is a part of the loss
        assert Origin(row.name, "forward") in served
        if not row.layer.startswith("Residual"):  # a sum passes its gradient on as it is
            assert Origin(row.name, "backward") in served
        assert (Origin(row.name, "update") in served) == (row.parameters > 0)
    assert {o.layer for o in served} - set(names) == {LOSS, OPTIMIZER}
    assert all(k.origin in k.serves for k in found.kernels)


def test_operations_are_those_of_the_summary(found: Profile) -> None:
    forward = 2 * found.multiply_adds * BATCH
    first = 2 * found.layers[0].multiply_adds * BATCH  # nobody asks for the input's gradient
    assert found.cost(part="forward").operations == forward
    assert found.cost(part="backward").operations == 2 * forward - first
    assert found.cost(part="update").operations == 0
    for row in found.layers:
        assert found.cost(row.name, "forward").operations == 2 * row.multiply_adds * BATCH
    assert found.cost() == sum((k.cost for k in found.kernels), Cost())


def test_the_paddings_zeros_are_no_work(found: Profile) -> None:
    inside = found.cost("0", "forward")
    assert inside.operations == 2 * BATCH * 8 * 64 * 27
    assert inside.useful == 2 * BATCH * 8 * 3 * 22 * 22  # 3 * 8 - 2 of 3 * 8 taps along each axis
    dense = found.cost("12", "forward")
    assert dense.useful == dense.operations > 0


def test_parts_of_a_net_are_counted_where_they_belong(found: Profile) -> None:
    def works(layer: str, part: str) -> str:
        return " ".join(k.work for k in found.kernels if k.origin == Origin(layer, part))

    assert "Conv" in works("3.body.0", "forward")
    assert "ConvWeightGrad" in works("3.body.0", "backward")
    assert "ConvInputGrad" in works("3.body.0", "backward")
    assert "ConvInputGrad" not in works("0", "backward")
    assert "BatchNorm" in works("1", "forward")
    assert any(k.work == "Copy" for k in found.kernels if k.origin == Origin("0", "forward"))
    assert "SoftmaxCrossEntropy" in works(LOSS, "forward")


def test_a_gradient_masked_by_the_pooling_pass_is_its_convolutions() -> None:
    """The pass `pooled` masks what goes through MaxPoolGrad before it: in kernels of layer 5."""
    made = nn.from_text("conv8 relu conv8 relu pool2 conv8 relu flatten linear4", SHAPE)
    found = profile(made, SHAPE, BATCH, threads=1, seconds=0.01)
    (kernel,) = (k for k in found.kernels if k.work == "ConvInputGrad"
                 and k.shape == (BATCH, 8, 4, 4))
    assert kernel.origin == Origin("5", "backward") and Origin("3", "backward") in kernel.serves
    assert kernel.cost.operations == 2 * found.layers[5].multiply_adds * BATCH > 0
    assert 0 < kernel.cost.useful < kernel.cost.operations
    packing = found.kernels[kernel.number - 1]
    assert (packing.work, packing.origin) == ("ConvInputGrad pack", kernel.origin)
    spread = [k.origin for k in found.kernels if "MaxPoolGrad" in k.work]
    assert spread == [Origin("4", "backward")]
    forward, first = (2 * n * BATCH for n in (found.multiply_adds, found.layers[0].multiply_adds))
    assert found.cost(part="backward").operations == 2 * forward - first


def test_times_and_sizes(found: Profile) -> None:
    assert all(k.cost.seconds >= 0 and k.cost.bytes > 0 for k in found.kernels)
    assert found.seconds > 0
    assert min(found.step, found.step_read, found.fma_peak, found.bandwidth) > 0
    parameters = 4 * net().parameter_count()
    assert found.parameter_bytes == parameters
    assert 3 * parameters < found.state_bytes < 4 * parameters  # Adam; the buffers of the norms
    assert found.arena_bytes > 0 and found.compile_seconds > 0
    share, of_memory = found.shares(Cost(2.0, 9, int(found.fma_peak), int(4 * found.bandwidth)))
    assert share == pytest.approx(0.5, rel=1e-6) and of_memory == pytest.approx(2, rel=1e-6)
    assert found.shares(Cost()) == (0, 0)


def test_the_traced_step_learns_what_autograd_does() -> None:
    """Listening to the tape changes nothing: the graph's new velocities are the gradients."""
    model = net()
    step = traced_step(model, SHAPE, BATCH, optim.parse_optimizer("momentum", weight_decay=0.0))
    from kiso.compiler import run

    results = run(step.graph, *step.state, *step.batch)
    x, y, key = step.batch[0], step.batch[1], step.batch[2]
    params = {name: nn.Parameter(p.data) for name, p in model.named_parameters()}
    scores = nn.split_softmax(model)[0]
    output, _ = nn.functional_call(scores, params, {}, x, key=key, training=True)
    ops.cross_entropy(output, y).backward()
    velocities = results[len(params) + len(dict(model.named_buffers())):][:len(params)]
    for (name, p), v in zip(params.items(), velocities, strict=True):
        assert p.grad is not None
        np.testing.assert_allclose(v, p.grad.data, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_net_without_scores_is_refused() -> None:
    with pytest.raises(ConfigError, match="linear10"):
        profile(nn.from_text("conv4", SHAPE), SHAPE, BATCH)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot pin threads")
def test_pinning_is_undone_after_an_error() -> None:
    before = os.sched_getaffinity(0)
    stop = threading.Event()
    helper = threading.Thread(target=stop.wait, name="kiso-1", daemon=True)
    helper.start()
    with pytest.raises(ZeroDivisionError), clock.pinned(2):
        if len(before) > 1:
            assert len(os.sched_getaffinity(0)) == 1
        raise ZeroDivisionError
    stop.set()
    assert os.sched_getaffinity(0) == before
