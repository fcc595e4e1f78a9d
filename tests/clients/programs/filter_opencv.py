"""OpenCV's T-API: UMat computes with OpenCL and falls back to the processor where that fails."""

import cv2
import numpy
from released import mebibytes, out_of_memory, wait_after_release


def filtered(height):
    image = (numpy.arange(height * 1024, dtype=numpy.uint32) % 251).astype(numpy.float32)
    source = cv2.UMat(image.reshape(height, 1024))
    result = cv2.GaussianBlur(source, (5, 5), 1.5)
    result = cv2.add(result, source)
    print("mean", round(cv2.mean(result)[0], 4))


print("OpenCL", cv2.ocl.useOpenCL())
try:
    filtered((mebibytes() << 20) // 2 // 4096)
except (cv2.error, MemoryError) as error:
    out_of_memory(error)
cv2.ocl.finish()
cv2.UMat(8, 8, cv2.CV_8U)  # T-API gives back what kernels were still using at its next allocation
wait_after_release()
