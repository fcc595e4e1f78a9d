"""A small network trained with tinygrad on its OpenCL device. The size is that of a batch."""

import gc

import numpy
from released import mebibytes, out_of_memory, wait_after_release
from tinygrad import Context, Device, Tensor, nn

WIDTH = 256


class Network:
    def __init__(self):
        self.first = nn.Linear(WIDTH, 32)
        self.second = nn.Linear(32, 1)
        for number, weights in enumerate(nn.state.get_parameters(self)):
            weights.assign(Tensor.full(weights.shape, 0.01 * (number + 1)).contiguous())

    def __call__(self, batch):
        return self.second(self.first(batch).relu())


def train(rows):
    values = numpy.random.default_rng(7).random((rows, WIDTH), dtype=numpy.float32)
    batch = Tensor(values, device=Device.DEFAULT).realize()
    network = Network()
    optimizer = nn.optim.SGD(nn.state.get_parameters(network), lr=1e-5)
    with Context(TRAINING=1):
        for _ in range(3):
            optimizer.zero_grad()
            loss = ((network(batch) - 5) ** 2).mean()
            loss.backward()
            optimizer.step()
            print("loss", f"{loss.item():.4g}")


print("device", Device.DEFAULT)
try:
    train((mebibytes() << 20) // WIDTH // 4)
except MemoryError as error:
    out_of_memory(error)
gc.collect()
Device[Device.DEFAULT].allocator.free_cache()
wait_after_release()
