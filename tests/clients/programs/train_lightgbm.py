"""LightGBM trained with device_type=gpu. The size is that of the training data on the device."""


import lightgbm
import numpy
from released import mebibytes, out_of_memory, wait_after_release

FEATURES = 32  # a byte each on the device


def train(rows):
    random = numpy.random.default_rng(1)
    data = random.integers(0, 60, (rows, FEATURES), dtype=numpy.uint8).astype(numpy.float32)
    target = data[:, 0] + data[:, 1] * data[:, 2] > 900
    booster = lightgbm.train({"device_type": "gpu", "objective": "binary", "verbose": -1,
                              "num_threads": 1, "max_bin": 63, "num_leaves": 7,
                              "gpu_use_dp": True}, lightgbm.Dataset(data, target), 2)
    print("prediction", [round(float(value), 6) for value in booster.predict(data[:4])])
    print("trees", booster.num_trees())


try:
    train((mebibytes() << 20) // FEATURES)
except lightgbm.basic.LightGBMError as error:
    out_of_memory(error)
wait_after_release()
