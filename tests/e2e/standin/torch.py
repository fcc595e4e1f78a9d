"""Stands in for torch, which wants CUDA: the calls of the user guide, on PyOpenCL."""

import pickle

import pyopencl as cl

_context = None


def buffer(size):
    global _context
    if _context is None:
        _context = cl.create_some_context(interactive=False)
    return cl.Buffer(_context, cl.mem_flags.READ_WRITE, size)


class Module:
    size = 1 << 20

    def cuda(self):
        self.weights = buffer(self.size)
        return self

    def fit(self, *_data):
        self.activations = buffer(self.size)

    def state_dict(self):
        return {"size": self.size}


class nn:  # noqa: N801
    Module = Module

    class Linear(Module):
        def __init__(self, inputs, outputs):
            self.size = 4 * (inputs + 1) * outputs

    class ReLU(Module):
        size = 0

    class Sequential(Module):
        def __init__(self, *modules):
            sizes = [module.size for module in modules if isinstance(module, Module)]
            self.size = sum(sizes) or Module.size


def save(state, path):
    with open(path, "wb") as file:
        pickle.dump(state, file)
