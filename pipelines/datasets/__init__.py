"""Data sets: one file a kind. To add one, write its file and list it in the union."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from pipelines.datasets.base import DatasetSpec, Samples
from pipelines.datasets.breast_cancer import BreastCancer
from pipelines.datasets.cifar10 import Cifar10
from pipelines.datasets.csv import Csv
from pipelines.datasets.diabetes import Diabetes
from pipelines.datasets.digits import Digits
from pipelines.datasets.fashion_mnist import FashionMnist
from pipelines.datasets.function import Function
from pipelines.datasets.image_folder import ImageFolder
from pipelines.datasets.iris import Iris
from pipelines.datasets.mnist import Mnist
from pipelines.datasets.npz import Npz
from pipelines.datasets.playground import Circle, Gauss, MultiGauss, Plane, Spiral, Xor
from pipelines.datasets.synthetic_images import SyntheticImages
from pipelines.datasets.wine import Wine
from pipelines.spec import named

Dataset = Annotated[
    Annotated[
        Digits
        | Mnist
        | FashionMnist
        | Cifar10
        | SyntheticImages
        | BreastCancer
        | Iris
        | Wine
        | Diabetes
        | Circle
        | Xor
        | Gauss
        | Spiral
        | Plane
        | MultiGauss
        | Csv
        | Npz
        | ImageFolder
        | Function,
        Field(discriminator="name"),
    ],
    BeforeValidator(named),
]

__all__ = ["Dataset", "DatasetSpec", "Samples"]
