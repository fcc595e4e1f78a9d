"""A small network trained with tinygrad for a hundred steps. A whole program to be timed."""

import numpy
from tinygrad import Context, Device, Tensor, TinyJit, nn

WIDTH, ROWS, STEPS = 128, 256, 100


class Network:
    def __init__(self):
        self.first = nn.Linear(WIDTH, 64)
        self.second = nn.Linear(64, 1)

    def __call__(self, batch):
        return self.second(self.first(batch).relu())


Tensor.manual_seed(7)
random = numpy.random.default_rng(7)
network = Network()
optimizer = nn.optim.SGD(nn.state.get_parameters(network), lr=1e-3)


@TinyJit
def step(batch):
    optimizer.zero_grad()
    loss = ((network(batch) - 5) ** 2).mean()
    loss.backward()
    optimizer.step()
    return loss.realize()


assert Device.DEFAULT == "CL", Device.DEFAULT
with Context(TRAINING=1):
    for _ in range(STEPS):
        rows = random.random((ROWS, WIDTH), dtype=numpy.float32)
        loss = step(Tensor(rows).realize())
print("loss", loss.item())
