"""Stands in for TensorFlow, which wants CUDA: the calls of the user guide, on PyOpenCL."""

from torch import Module


class keras:  # noqa: N801
    class Sequential(Module):
        def __init__(self, layers):
            self.layers = layers
