#!/usr/bin/env python3
"""Train a small network on two interleaved spirals, on any OpenCL device.

A hidden layer of 96 tanh units and a sigmoid output learn to tell the arms of two spirals apart
(full batch, Adam). Everything of the training runs in OpenCL C kernels; NumPy makes the points and
checks the result on points that the network has not seen. The same seed gives the same run.

Device memory grows with --batch, by 788 bytes a point: the default takes about 4 MB, 2,000,000
points 1.5 GiB.

Exit status:
  0  it learned: loss below 0.1 and at least 97 % of unseen points right
  1  it did not learn (too few --steps or points)
  2  bad usage, or no OpenCL device
  3  the device did not give the memory that the batch needs (MemoryError)
"""

import argparse
import sys

import numpy as np
import pyopencl as cl

HIDDEN = 96
PARAMETERS = 4 * HIDDEN + 1  # two weights and a bias in, one weight out per unit; a bias out
CHUNKS = 64  # partial sums of the gradient, each over its share of the batch

KERNELS = """
// Parameters: w1x[H] w1y[H] b1[H] w2[H] b2.  Activations: [unit][point].

__kernel void forward(__global const float *p, __global const float *points,
                      __global const float *labels, __global float *hidden,
                      __global float *delta, __global float *losses, int n) {
  int i = get_global_id(0);
  float x = points[2 * i], y = points[2 * i + 1];
  float z = p[4 * H];
  for (int j = 0; j < H; ++j) {
    float h = tanh(p[j] * x + p[H + j] * y + p[2 * H + j]);
    hidden[(size_t)j * n + i] = h;
    z += p[3 * H + j] * h;
  }
  float t = labels[i];
  losses[i] = fmax(z, 0.0f) - z * t + log1p(exp(-fabs(z)));  // cross entropy, without overflow
  delta[i] = (1.0f / (1.0f + exp(-z)) - t) / n;
}

__kernel void backward(__global const float *p, __global const float *hidden,
                       __global const float *delta, __global float *hidden_delta, int n) {
  int i = get_global_id(0), j = get_global_id(1);
  size_t at = (size_t)j * n + i;
  hidden_delta[at] = delta[i] * p[3 * H + j] * (1.0f - hidden[at] * hidden[at]);
}

// One chunk of the batch for one unit; unit H is the output's bias and the loss.
__kernel void gradient(__global const float *points, __global const float *hidden,
                       __global const float *hidden_delta, __global const float *delta,
                       __global const float *losses, __global float *partial, int n) {
  int c = get_global_id(0), j = get_global_id(1);
  int begin = (int)((long)n * c / CHUNKS), end = (int)((long)n * (c + 1) / CHUNKS);
  float wx = 0, wy = 0, b = 0, w2 = 0;
  __global float *out = partial + c * (P + 1);
  if (j == H) {
    for (int i = begin; i < end; ++i) { b += delta[i]; w2 += losses[i]; }
    out[4 * H] = b;
    out[P] = w2;
    return;
  }
  for (int i = begin; i < end; ++i) {
    size_t at = (size_t)j * n + i;
    float d = hidden_delta[at];
    wx += d * points[2 * i];
    wy += d * points[2 * i + 1];
    b += d;
    w2 += delta[i] * hidden[at];
  }
  out[j] = wx; out[H + j] = wy; out[2 * H + j] = b; out[3 * H + j] = w2;
}

__kernel void adam(__global float *p, __global float *m, __global float *v,
                   __global const float *partial, __global float *loss, float rate, int step,
                   int n) {
  int k = get_global_id(0);
  float g = 0;
  for (int c = 0; c < CHUNKS; ++c) g += partial[c * (P + 1) + k];
  if (k == P) { loss[0] = g / n; return; }
  m[k] = 0.9f * m[k] + 0.1f * g;
  v[k] = 0.999f * v[k] + 0.001f * g * g;
  float mean = m[k] / (1.0f - pow(0.9f, (float)step));
  float spread = v[k] / (1.0f - pow(0.999f, (float)step));
  p[k] -= rate * mean / (sqrt(spread) + 1e-8f);
}
"""


def spirals(count, generator):
    """`count` points in the unit square around 0, and the arm (0 or 1) of each."""
    arm = np.arange(count) % 2
    along = np.sqrt(generator.random(count))
    angle = 3.5 * along + np.pi * arm
    points = np.stack([along * np.cos(angle), along * np.sin(angle)], axis=1)
    points += generator.normal(scale=0.02, size=points.shape)
    return points.astype(np.float32), arm.astype(np.float32)


def first_parameters(generator):
    scale = np.concatenate([
        np.full(2 * HIDDEN, 3.0), np.full(HIDDEN, 1.0), np.full(HIDDEN, HIDDEN**-0.5), [0.0]])
    return (generator.normal(size=PARAMETERS) * scale).astype(np.float32)


def accuracy(parameters, points, labels):
    """Share of points told apart, computed on the host: a check independent of the kernels."""
    wx, wy, bias, out = parameters[:-1].reshape(4, HIDDEN)
    hidden = np.tanh(np.outer(points[:, 0], wx) + np.outer(points[:, 1], wy) + bias)
    return float(np.mean((hidden @ out + parameters[-1] > 0) == (labels > 0.5)))


def pick_device(wanted):
    devices = [device for platform in cl.get_platforms() for device in platform.get_devices()]
    if wanted is not None:
        return devices[wanted]
    gpus = [device for device in devices if device.type & cl.device_type.GPU]
    return (gpus + devices)[0]


def buffer_sizes(batch):
    """Bytes of every device buffer."""
    floats = {
        "points": 2 * batch, "labels": batch, "losses": batch, "delta": batch,
        "hidden": HIDDEN * batch, "hidden_delta": HIDDEN * batch,
        "partial": CHUNKS * (PARAMETERS + 1), "loss": 1,
        "parameters": PARAMETERS, "mean": PARAMETERS, "variance": PARAMETERS,
    }
    return {name: 4 * count for name, count in floats.items()}


def train(device, batch, steps, seed, report_every):
    """Train, print the loss on the way, and return (final loss, parameters)."""
    context = cl.Context([device])
    queue = cl.CommandQueue(context)
    buffers = {name: cl.Buffer(context, cl.mem_flags.READ_WRITE, size)
               for name, size in buffer_sizes(batch).items()}
    program = cl.Program(context, KERNELS).build(
        options=[f"-DH={HIDDEN}", f"-DP={PARAMETERS}", f"-DCHUNKS={CHUNKS}"])
    forward, backward, gradient, adam = (
        cl.Kernel(program, name) for name in ("forward", "backward", "gradient", "adam"))

    generator = np.random.default_rng(seed)
    points, labels = spirals(batch, generator)
    nothing = np.zeros(PARAMETERS, np.float32)
    for name, data in (("points", points), ("labels", labels), ("mean", nothing),
                       ("variance", nothing), ("parameters", first_parameters(generator))):
        cl.enqueue_copy(queue, buffers[name], data)

    def use(*names):
        return [buffers[name] for name in names]

    n = np.int32(batch)
    loss = np.empty(1, np.float32)
    for step in range(1, steps + 1):
        rate = np.float32(0.02 * (0.05 if step > 0.8 * steps else 1.0))
        forward(queue, (batch,), None,
                *use("parameters", "points", "labels", "hidden", "delta", "losses"), n)
        backward(queue, (batch, HIDDEN), None,
                 *use("parameters", "hidden", "delta", "hidden_delta"), n)
        gradient(queue, (CHUNKS, HIDDEN + 1), None,
                 *use("points", "hidden", "hidden_delta", "delta", "losses", "partial"), n)
        adam(queue, (PARAMETERS + 1,), None,
             *use("parameters", "mean", "variance", "partial", "loss"), rate, np.int32(step), n)
        if step == 1 or step == steps or step % report_every == 0:
            cl.enqueue_copy(queue, loss, buffers["loss"])
            print(f"step {step:4d}  loss {loss[0]:.4f}", flush=True)
    parameters = np.empty(PARAMETERS, np.float32)
    cl.enqueue_copy(queue, parameters, buffers["parameters"])
    queue.finish()
    return float(loss[0]), parameters


def is_out_of_memory(error):
    if isinstance(error, (cl.MemoryError, MemoryError)):
        return True
    # Larger than the largest buffer of this device: also a batch that does not fit.
    return getattr(error, "code", None) == cl.status_code.INVALID_BUFFER_SIZE


def positive(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=positive, default=4096, metavar="N",
                        help="points to train on (default 4096); device memory grows with it")
    parser.add_argument("--steps", type=positive, default=300, metavar="N",
                        help="steps of the optimiser (default 300)")
    parser.add_argument("--seed", type=int, default=1, help="seed of points and network")
    parser.add_argument("--device", type=int, metavar="I",
                        help="device number over all platforms (default: the first GPU, else the "
                             "first device)")
    arguments = parser.parse_args()

    try:
        device = pick_device(arguments.device)
    except (cl.Error, IndexError) as error:
        print(f"train.py: no such OpenCL device: {error}", file=sys.stderr)
        return 2
    wanted = sum(buffer_sizes(arguments.batch).values())
    print(f"{arguments.batch} points on {device.name.strip()}, "
          f"{wanted / 2**20:.1f} MiB of {device.global_mem_size / 2**20:.0f} MiB", flush=True)
    try:
        loss, parameters = train(device, arguments.batch, arguments.steps, arguments.seed,
                                 max(1, arguments.steps // 10))
    except (cl.Error, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        print(f"train.py: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"train.py: a batch of {arguments.batch} wants {wanted} bytes "
              f"({wanted / 2**20:.1f} MiB) of device memory; try a smaller --batch",
              file=sys.stderr)
        return 3
    share = accuracy(parameters, *spirals(2000, np.random.default_rng(arguments.seed + 1)))
    print(f"final loss {loss:.4f}  accuracy {100 * share:.1f}%")
    return 0 if loss < 0.1 and share >= 0.97 else 1


if __name__ == "__main__":
    sys.exit(main())
