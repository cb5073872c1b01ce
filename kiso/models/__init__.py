"""Ready-made nets, by function and by name. Stands on `nn`; `train` asks it for a default.

Read base, then any family; each is one file: lenet1989, lenet5, alexnet, zfnet, vgg, googlenet,
resnet, preact, mobilenet, densenet, fastnet; unet and autoencoder put out pictures. cnn and mlp
make descriptions in words. registry finds them by name; call reads names with options.
"""

from kiso.models.alexnet import alexnet
from kiso.models.autoencoder import autoencoder
from kiso.models.base import MODELS, Card, Entry, Net
from kiso.models.cnn import cnn, cnn_text
from kiso.models.densenet import (
    densenet121,
    densenet169,
    densenet201,
)
from kiso.models.fastnet import fastnet
from kiso.models.googlenet import googlenet
from kiso.models.lenet5 import lenet5
from kiso.models.lenet1989 import lenet1989_1, lenet1989_2, lenet1989_3, lenet1989_4, lenet1989_5
from kiso.models.mlp import linear_text, mlp, mlp_text, tabular, tabular_text
from kiso.models.mobilenet import mobilenet_v1
from kiso.models.preact import (
    preact_resnet18,
    preact_resnet20,
    preact_resnet32,
    preact_resnet34,
    preact_resnet44,
    preact_resnet50,
    preact_resnet56,
    preact_resnet101,
    preact_resnet110,
    preact_resnet152,
    preact_resnet164,
    preact_resnet200,
    preact_resnet1001,
    wide_resnet,
)
from kiso.models.registry import (
    build,
    create,
    default_model,
    find,
    no_name,
    other_shape,
    text_of,
)
from kiso.models.resnet import (
    plain18,
    plain20,
    plain32,
    plain34,
    plain44,
    plain56,
    plain110,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
)
from kiso.models.structure import Stage, structure
from kiso.models.unet import unet
from kiso.models.vgg import (
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
)
from kiso.models.zfnet import zfnet

__all__ = [
    "MODELS",
    "Card",
    "Entry",
    "Net",
    "Stage",
    "alexnet",
    "autoencoder",
    "build",
    "cnn",
    "cnn_text",
    "create",
    "default_model",
    "densenet121",
    "densenet169",
    "densenet201",
    "fastnet",
    "find",
    "googlenet",
    "lenet5",
    "lenet1989_1",
    "lenet1989_2",
    "lenet1989_3",
    "lenet1989_4",
    "lenet1989_5",
    "linear_text",
    "mlp",
    "mlp_text",
    "mobilenet_v1",
    "no_name",
    "other_shape",
    "plain18",
    "plain20",
    "plain32",
    "plain34",
    "plain44",
    "plain56",
    "plain110",
    "preact_resnet18",
    "preact_resnet20",
    "preact_resnet32",
    "preact_resnet34",
    "preact_resnet44",
    "preact_resnet50",
    "preact_resnet56",
    "preact_resnet101",
    "preact_resnet110",
    "preact_resnet152",
    "preact_resnet164",
    "preact_resnet200",
    "preact_resnet1001",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "structure",
    "tabular",
    "tabular_text",
    "text_of",
    "unet",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "wide_resnet",
    "zfnet",
]
